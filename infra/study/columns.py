"""Columns of a study's tables: what its cells asked for, and what came out."""

from __future__ import annotations

import pyarrow as pa

from irnet_core.schema import REASON, Column

CELL = Column("cell", pa.string(), "", "digest of what the cell of the study asks for")
DATA_SET = Column("data", pa.string(), "", "data set of the study's grid")
TARGET = Column("target", pa.string(), "", "column that is learned")
UNIT = Column("unit", pa.string(), "", "unit of the target and of its errors")
INPUTS = Column("inputs", pa.string(), "", "composition, structure, or both")
LEARNER = Column("learner", pa.string(), "", "family of networks, or classical learner")
DEPTH = Column("depth", pa.int64(), "1", "layers of the network, none for classical learners")
RECIPE = Column("recipe", pa.string(), "", "training recipe of the network")
MEMBERS = Column("members", pa.int64(), "1", "networks whose mean predicts, 1 is a single one")
FOLDS = Column("folds", pa.int64(), "1", "pairs of training and validation rows, judged together")
STATUS = Column("status", pa.string(), "", "done, not run, or failed")
BUDGET_ROWS = Column("budget_rows", pa.int64(), "1", "training rows asked for, none is all")
BUDGET_EPOCHS = Column("budget_epochs", pa.int64(), "1", "epochs asked for, none is the recipe's")
TRAIN_ROWS = Column("train_rows", pa.int64(), "1", "rows the learner was fitted on")
ROWS_AT_HAND = Column("rows_at_hand", pa.int64(), "1", "training rows there were within the budget")
VALIDATION_ROWS = Column("validation_rows", pa.int64(), "1", "rows the errors are of")
N_INPUTS = Column("n_inputs", pa.int64(), "1", "features the learner sees")
MAE = Column("mae", pa.float64(), "unit of the target", "mean absolute error on validation rows")
RMSE = Column("rmse", pa.float64(), "unit of the target", "root mean square error on the same")
R2 = Column("r2", pa.float64(), "1", "coefficient of determination on the same")
MAE_OF_MEDIAN = Column(
    "mae_of_median", pa.float64(), "unit of the target", "error of always predicting the median"
)
SINGLE_MAE = Column(
    "single_mae", pa.float64(), "unit of the target", "of an ensemble's first member alone"
)
SECONDS = Column("seconds", pa.float64(), "s", "wall time of tuning, fitting and predicting")
BEST_EPOCH = Column(
    "best_epoch", pa.int64(), "1", "epoch whose weights did best on validation rows"
)
CHOSEN = Column("chosen", pa.string(), "", "hyper-parameters that were chosen, as JSON")
SEED = Column("seed", pa.int64(), "1", "seed of split, sample and weights")
PEER = Column("peer", pa.string(), "", "published model with the smallest error on this table")
PEER_MAE = Column("peer_mae", pa.float64(), "unit of the target", "its mean absolute error")
EPOCH = Column("epoch", pa.int64(), "1", "passes over the training rows so far")
TRAIN_LOSS = Column("train_loss", pa.float64(), "unit of the target", "mean loss of the epoch")

RESULTS = (
    *(CELL, DATA_SET, TARGET, UNIT, INPUTS, LEARNER, DEPTH, RECIPE, MEMBERS, STATUS, REASON),
    *(MAE, SINGLE_MAE, RMSE, R2, MAE_OF_MEDIAN, FOLDS, TRAIN_ROWS, ROWS_AT_HAND),
    *(VALIDATION_ROWS, N_INPUTS),
    *(SECONDS, BUDGET_ROWS, BUDGET_EPOCHS, BEST_EPOCH, CHOSEN, SEED, PEER, PEER_MAE),
)
CURVES = (CELL, EPOCH, TRAIN_LOSS, MAE)
