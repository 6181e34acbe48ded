"""What a proposal is made of: drafted terms, continuations, placebos, and what a run would cost."""
