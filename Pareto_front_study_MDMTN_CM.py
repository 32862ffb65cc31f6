"""Study the Pareto front of a Monitored Deep Multi-Task Network (MDMTN) on Cifar10Mnist.

From the best sparse model in src/Sparse_models/ (or --model FILE), its zero rows held, a network is trained for every
preference vector of the model's k0. Run Example_MDMTN_CM_withSparsity.py first.
"""

from Train_and_Test import run_pareto_study

if __name__ == "__main__":
    run_pareto_study(__file__, "MDMTN", "Cifar10Mnist", description=__doc__)
