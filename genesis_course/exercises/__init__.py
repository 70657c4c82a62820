"The answer book: exercises, checks, solutions and typical mistakes, a module for each chapter"
# in reading order
chapters = ["start", "tensors", "data", "optim", "training", "cnn", "augment", "rnn", "attention",
            "vae", "gan", "stable_gan", "evaluation", "flow", "diffusion", "transfer",
            "adversarial", "particles", "genesis", "gpu"]
