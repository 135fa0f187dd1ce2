"""Who multiplies the matrices: one file per runtime. Each gives a logit for one pair of token ids."""
