"""Train a sparse Monitored Deep Multi-Task Network (MDMTN) on MultiMNIST.

Edit the preference vector k below: how much sparsity, the left digit and the right digit matter.
"""

from Train_and_Test import run_example

k = [1e-3, 0.5, 0.499]  # sparsity, left digit, right digit

if __name__ == "__main__":
    run_example(__file__, "MDMTN", "MultiMnist", k, description=__doc__)
