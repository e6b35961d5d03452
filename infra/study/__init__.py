"""The study: a declared grid of trainings, classical learners, results, figures and the report."""
