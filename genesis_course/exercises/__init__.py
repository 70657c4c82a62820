"The answer book: exercises, checks, solutions and typical mistakes, a module for each chapter"
# in reading order
chapters = ["start", "tensors", "data", "optim", "training", "cnn", "augment", "rnn",
            "attention", "sequences", "vae", "codes", "gan", "stable_gan", "colour",
            "evaluation", "measures", "flow", "diffusion", "latent", "imagenet",
            "transfer", "adversarial", "particles", "genesis", "codeflow", "editing",
            "style", "translation", "text", "music", "levels", "gpu", "finetune",
            "experiments", "shipping", "semisupervised", "synthetic", "privacy", "responsibility"]
