"""Train a network for a single task (STL) of Cifar10Mnist, without sparsity.

Choose the task below; the first number of k, for sparsity, is 0: no row is removed.
"""

from Train_and_Test import run_example

task = 0  # 0: CIFAR-10 class, 1: MNIST digit
k = [0, 1]  # sparsity, the task

if __name__ == "__main__":
    run_example(__file__, "STL", "Cifar10Mnist", k, task=task, description=__doc__)
