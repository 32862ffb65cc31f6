"""Train a multi-task attention network (MTAN) on Cifar10Mnist.

First the weights of the task losses and the learning rate are searched; then the network is trained with the best.
"""

from Train_and_Test import run_searched_example

weights = [(0.01, 0.09), (0.02, 0.08), (0.03, 0.07), (0.04, 0.06), (0.05, 0.05)]  # CIFAR-10 class, MNIST digit
learning_rates = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]

if __name__ == "__main__":
    candidates = [{"w": (0.0, *pair), "lr": lr} for pair in weights for lr in learning_rates]
    run_searched_example(__file__, "MTAN", "Cifar10Mnist", candidates, method="WeightedSum", description=__doc__)
