"""Train a sparse network for a single task (STL) of Cifar10Mnist.

Choose the task below, and edit the preference vector k: how much sparsity and the task matter.
"""

from Train_and_Test import run_example

task = 0  # 0: CIFAR-10 class, 1: MNIST digit
k = [5e-2, 0.95]  # sparsity, the task

if __name__ == "__main__":
    run_example(__file__, "STL", "Cifar10Mnist", k, task=task, description=__doc__)
