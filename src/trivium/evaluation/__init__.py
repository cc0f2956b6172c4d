"""Scores trained methods: from a method and a split to numbers.

metrics             the field's metrics of a split's predictions
predict             predictions of a split (predictions: gathered by clip) and their metrics; validation: while fitting
probe               linear probes of frozen vectors: vectors, probe_targets, probe_choice, linear_models, classification
missing_modalities  the protocols of missing and disturbed modalities: subsets, missing_rates, feature_noise, shapley
representation_alignment  agreement of a modality's vectors with the joint ones
significance        paired tests over seeds, Holm's correction, intervals
"""
