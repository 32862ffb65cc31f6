"""A hundred bad inputs as a user may give them: script or command, flags, and what the one line must say."""

from __future__ import annotations

DEMO = ("Example_MDMTN_MM_withSparsity.py", "--demo")
STUDY = ("Pareto_front_study_MDMTN_MM.py", "--demo")
COMMAND = ("Train_and_Test.py",)
SEARCH = ("Train_and_Test.py", "search", "--demo")
REPEAT = ("Example_HPS_MGDA_MM.py", "--demo")
TAUGHT = ("Example_KDMTL_MM.py", "--demo")
SINGLE = ("Example_STL_MM_withSparsity.py", "--demo")
DENSE = ("Example_HPS_MM_noSparsity.py", "--demo")
CREATE = ("Data_loaders/Create_Cifar10Mnist_dataset.py",)

Case = tuple[tuple[str, ...], tuple[str, ...], str]

NUMBERS: list[Case] = [
    (DEMO, (f"--{name}", value), f"{name} is ")
    for name, values in {
        "lr": ("0", "-1", "nan", "inf", "fast"),
        "epsilon": ("-0.1", "2", "small"),
        "mu": ("0", "1e9", "-1"),
        "rho": ("0.5", "nan"),
        "lambda_memory": ("0", "-1", "nan", "inf"),
        "momentum": ("1", "-0.1"),
        "lr_sched_coef": ("0", "1.5"),
        "train_share": ("0", "1.1"),
        "batch_size": ("0", "2.5", "many"),
        "num_epochs": ("0", "-3", "1.5"),
        "max_iter_search": ("0", "x"),
        "max_iter_retrain": ("0",),
        "tol_epochs": ("0", "soon"),
        "num_batchEpoch": ("0",),
        "min_sparsRate": ("101", "-1"),
        "max_layerSRate": ("80", "-0.1"),
        "sim_preference": ("2", "-2"),
        "beta1": ("-1", "inf"),
        "beta2": ("-1",),
        "skip_layer": ("-1", "first"),
        "num_model": ("-1",),
        "num_tasks": ("1", "two"),
        "seed": ("-1", "4294967296", "1.5"),
        "data_seed": ("-1",),
    }.items()
    for value in values
]
CHOICES: list[Case] = [
    (DEMO, (f"--{name}", "nonsense"), f"{name} is 'nonsense'; allowed: ")
    for name in (
        "base_optimizer",
        "schedule",
        "precision",
        "criterion",
        "t_update",
        "growl_type",
        "row_groups",
        "device",
        "method",
        "LR_scheduler",
        "mgda_ub",
    )
]
OTHERS: list[Case] = [
    (DEMO, ("--k", "0.1", "0.9"), "has 2 numbers [0.1, 0.9]; allowed for MultiDigits: 3"),
    (DEMO, ("--k", "0.1", "0.2", "0.3", "0.4"), "has 4 numbers"),
    (DEMO, ("--k", "0.1", "-0.2", "0.9"), "allowed: numbers >= 0, not all zero"),
    (DEMO, ("--k", "0", "0", "0"), "not all zero"),
    (DEMO, ("--k", "1", "0", "0"), "at least one task with a preference above 0"),
    (DEMO, ("--k", "a", "b", "c"), "w (the preference vector k) is 'a'; allowed: finite numbers"),
    (DEMO, ("--k", "0.1", "inf", "0.9"), "allowed: finite numbers"),
    (DEMO, ("--k",), "expected at least one argument"),
    (DEMO, ("--a", "1", "1"), "a has 2 numbers"),
    (DEMO, ("--a", "x"), "a is 'x'; allowed: finite numbers"),
    (DEMO, ("--a", "100", "100", "100"), "allowed for left digit: below 2.303, the cross_entropy of guessing among 10"),
    (DEMO, ("--a", "0", "0", "1", "--criterion", "multi_margin_loss"), "allowed for right digit: below 0.9, the multi"),
    (DEMO, ("--a", "1e6", "0", "0"), "allowed for sparsity: below "),
    (SEARCH, ("--a", "0", "3", "0"), "allowed for left digit: below 2.303"),
    (STUDY, ("--a", "0", "0", "3"), "allowed for right digit: below 2.303"),
    (DEMO, ("--num_tasks", "5"), "num_tasks is 5; allowed: 3"),
    (DEMO, ("--learning_rate", "1"), "--learning_rate"),
    (DEMO, ("surplus",), "surplus"),
    (DEMO, ("--task", "2"), "task is 2; allowed for MultiDigits: 0 to 1"),
    (DEMO, ("--task", "first"), "task is 'first'"),
    (DEMO, ("--is_search", "no"), "name its file with --model"),
    (DEMO, ("--Sparsity_study", "no"), "name its file with --model"),
    (DEMO, ("--is_search", "no", "--model", "missing.pth"), "no such file"),
    (DEMO, ("--is_search", "no", "--model", "README.md"), "damaged or was not written by this program"),
    (DEMO, ("--model", "missing.pth"), "allowed: none, or is_search or Sparsity_study False"),
    (DEMO, ("--teachers", "a.pth"), "there are 1 teachers; allowed for method Chebyshev: 0"),
    (DEMO, ("--method", "MGDA"), "allowed for method MGDA: 0 for sparsity"),
    (
        DEMO,
        ("--method", "KDMTL", "--k", "0", "1", "1"),
        "there are 0 teachers; allowed for method KDMTL: 2, one per task",
    ),
    (DEMO, ("--resume", "nowhere", "--lr", "1"), "not allowed beside it: --demo, --lr"),
    (DEMO, ("--output-dir", "README.md"), "is not a folder you may write to"),
    (DENSE, ("--distillation", "-1"), "distillation is [-1.0]; allowed: numbers >= 0"),
    (SINGLE, ("--k", "0.1", "0.2", "0.7"), "allowed for MultiDigits: 2"),
    (SINGLE, ("--task", "none"), "architecture STL trains a single task: name it with --task"),
    (COMMAND, (), "the preference vector is missing; give it with --k"),
    (
        COMMAND,
        ("serch", "--architecture", "HPS"),
        "unknown command 'serch'; known: test, compress, export, predict, models, search, sparsity_study, compare",
    ),
    (COMMAND, ("--architecture", "HSP", "--k", "0", "1", "1"), "architecture is 'HSP'; allowed: MDMTN, HPS, STL, MTAN"),
    (COMMAND, ("--dataset", "MNIST", "--k", "0", "1", "1"), "dataset is 'MNIST'; allowed: MultiMnist"),
    (COMMAND, ("--architecture", "STL", "--k", "0", "1"), "name it with --task"),
    (COMMAND, ("--resume", "nowhere"), "nowhere holds no run of this version"),
    (COMMAND, ("--k", "0", "1", "1", "--data-dir", "/dev/null"), "/dev/null"),
    (COMMAND, ("test",), "required: model"),
    (COMMAND, ("test", "missing.pth"), "no such file: missing.pth"),
    (COMMAND, ("test", "LICENSE"), "damaged or was not written by this program"),
    (COMMAND, ("compress",), "required: model"),
    (COMMAND, ("compress", "missing.pth"), "no such file: missing.pth"),
    (COMMAND, ("export",), "required: model"),
    (COMMAND, ("export", "missing.pth"), "no such file: missing.pth"),
    (COMMAND, ("export", "LICENSE", "--int4"), "--int4"),
    (COMMAND, ("predict", "missing.pth"), "required: image"),
    (COMMAND, ("predict", "missing.pth", "Images/readme/MultiMnist_diagram.png"), "no such file: missing.pth"),
    (COMMAND, ("models", "--max_bytes", "0"), "max_bytes is '0'; allowed: a whole number >= 1"),
    (COMMAND, ("models", "--max_ms", "fast"), "max_ms is 'fast'; allowed: a finite number > 0"),
    (COMMAND, ("models",), "there is no saved model yet"),
    (COMMAND, ("draw",), "required: folder"),
    (COMMAND, ("draw", "nowhere"), "nowhere holds no run of this version"),
    (COMMAND, ("compare",), "required: folder"),
    (COMMAND, ("compare", "nowhere"), "nowhere holds no finished run"),
    (COMMAND, ("compare", "tests", "--name", "a/b"), "name is 'a/b'"),
    (SEARCH, ("--k0", "1.5"), "k0 is '1.5'; allowed: a finite number >= 0 and < 1"),
    (SEARCH, ("--k0", "x"), "k0 is 'x'"),
    (SEARCH, ("--resolution", "1"), "resolution"),
    (SEARCH, ("--architecture", "STL"), "name it with --task"),
    (SEARCH, ("--method", "MGDA"), "allowed for method MGDA: 0 for sparsity"),
    (SEARCH, ("--jobs", "0"), "jobs is '0'; allowed: a whole number >= 1"),
    (SEARCH, ("--dask", "nonsense"), "dask is 'nonsense'; allowed: the address of a scheduler"),
    (SEARCH, ("--k", "0", "1", "1"), "--k"),
    (REPEAT, ("--repetitions", "0"), "repetitions is '0'; allowed: a whole number >= 1"),
    (REPEAT, ("--jobs", "two"), "jobs is 'two'"),
    (REPEAT, ("--gradient_normalisation", "l1"), "gradient_normalisation is 'l1'; allowed: none, l2, loss, loss+"),
    (TAUGHT, ("--search_train_share", "0"), "search_train_share is '0'"),
    (TAUGHT, ("--search_max_iter", "0"), "search_max_iter is '0'"),
    (TAUGHT, ("--teacher_max_iter", "0"), "teacher_max_iter is '0'"),
    (TAUGHT, ("--teachers", "missing.pth"), "there are 1 teachers; allowed for method KDMTL: 2, one per task"),
    (TAUGHT, ("--distillation", "1", "1"), "--distillation"),
    (STUDY, ("--method", "Adam"), "method is 'Adam'; allowed: Chebyshev"),
    (STUDY, ("--model", "m.pth", "--k0", "0.1"), "k0 is [0.1]; allowed with --model: none"),
    (STUDY, ("--model", "missing.pth"), "no such file"),
    (STUDY, ("--sim_preference", "0.5"), "--sim_preference"),
    (STUDY, ("--box", "0"), "box is '0'; allowed: a finite number > 0"),
    (STUDY, ("--box_origin", "nan"), "box_origin is 'nan'; allowed: a finite number"),
    (STUDY, ("--k0", "0.95"), "k0 is 0.95; allowed"),
    (STUDY, ("--resolution", "1"), "resolution"),
    (CREATE, ("--variant", "7"), "invalid choice: 7"),
    (CREATE, ("--seed", "-1"), "seed is -1; allowed: 0 to 2**32 - 1"),
    (CREATE, ("--data-dir", "/dev/null"), "/dev/null"),
]
CASES = [*NUMBERS, *CHOICES, *OTHERS]
