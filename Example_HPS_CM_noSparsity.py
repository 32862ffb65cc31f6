"""Train a network with hard parameter sharing (HPS) on Cifar10Mnist, without sparsity.

Edit the preference vector k below: how much the CIFAR-10 class and the MNIST digit matter;
the first number, for sparsity, is 0: no row is removed.
"""

from Train_and_Test import run_example

k = [0, 0.15, 0.85]  # sparsity, CIFAR-10 class, MNIST digit

if __name__ == "__main__":
    run_example(__file__, "HPS", "Cifar10Mnist", k, description=__doc__)
