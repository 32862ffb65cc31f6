"""Train a Monitored Deep Multi-Task Network (MDMTN) on Cifar10Mnist by multiple gradient descent (MGDA).

It is trained from several seeds; mean and standard deviation of the test accuracy are reported. With --method
WeightedSum the task losses weigh the same instead.
"""

from Train_and_Test import run_repetitions

repetitions = 5

if __name__ == "__main__":
    run_repetitions(__file__, "MDMTN", "Cifar10Mnist", repetitions=repetitions, method="MGDA", description=__doc__)
