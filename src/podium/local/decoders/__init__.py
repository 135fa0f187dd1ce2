"""Language models that rank: how their prompts are written and tokenised, and how a score is read from their logits."""
