"""Train a network with hard parameter sharing on Cifar10Mnist with single-task teachers (KDMTL).

First a teacher per task is trained, once; then the weights of the distillation losses are searched; then the network
is trained with the best.
"""

from Train_and_Test import run_searched_example

k = [0, 1, 1]  # weights of the task losses: sparsity (none), CIFAR-10 class, MNIST digit
distillation = [(0.01, 0.04), (0.04, 0.01), (0.02, 0.03), (0.03, 0.02), (0.025, 0.025)]  # CIFAR-10 class, MNIST digit

if __name__ == "__main__":
    candidates = [{"distillation": pair} for pair in distillation]
    run_searched_example(__file__, "HPS", "Cifar10Mnist", candidates, k=k, method="KDMTL", description=__doc__)
