"""From a trained method and a split to numbers.

predict      predictions of a split (predictions: gathered by clip) -> metrics; validation: the same while fitting
probe        what a linear map reads from frozen vectors: vectors, targets, probe_choice, linear_models, classification
robustness   missing and disturbed modalities: subsets, rates, noise; shapley, alignment
significance paired tests over seeds, Holm's correction, intervals
"""
