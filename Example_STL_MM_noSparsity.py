"""Train a network for a single task (STL) of MultiMNIST, without sparsity.

Choose the task below; the first number of k, for sparsity, is 0: no row is removed.
"""

from Train_and_Test import run_example

task = 0  # 0: left digit, 1: right digit
k = [0, 1]  # sparsity, the task

if __name__ == "__main__":
    run_example(__file__, "STL", "MultiMnist", k, task=task, description=__doc__)
