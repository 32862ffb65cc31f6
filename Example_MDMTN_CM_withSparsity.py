"""Train a sparse Monitored Deep Multi-Task Network (MDMTN) on Cifar10Mnist.

Edit the preference vector k below: how much sparsity, the CIFAR-10 class and the MNIST digit matter.
"""

from Train_and_Test import run_example

k = [3e-3, 0.15, 0.847]  # sparsity, CIFAR-10 class, MNIST digit

if __name__ == "__main__":
    run_example(__file__, "MDMTN", "Cifar10Mnist", k, description=__doc__)
