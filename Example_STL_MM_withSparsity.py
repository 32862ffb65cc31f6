"""Train a sparse network for a single task (STL) of MultiMNIST.

Choose the task below, and edit the preference vector k: how much sparsity and the task matter.
"""

from Train_and_Test import run_example

task = 0  # 0: left digit, 1: right digit
k = [1e-2, 0.99]  # sparsity, the task

if __name__ == "__main__":
    run_example(__file__, "STL", "MultiMnist", k, task=task, description=__doc__)
