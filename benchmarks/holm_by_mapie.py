"""Runs MAPIE's controller over calibration sets; executed by the interpreter of MAPIE's own environment.

Reads an .npz of confidence [sets, rows], right [sets, rows], alpha, delta and grid [thresholds]; prints a JSON list
with the threshold of each set, null where MAPIE certifies none.
"""

import json
import sys
import warnings

import numpy as np
from mapie.risk_control import BinaryClassificationController  # type: ignore[import-not-found]


def probabilities(confidence):  # type: ignore[no-untyped-def]
    column = np.asarray(confidence).ravel()
    return np.column_stack([1.0 - column, column])


def main() -> None:
    warnings.simplefilter("ignore")  # "no threshold found" is the null in the answer
    sets = np.load(sys.argv[1])
    thresholds = []
    for confidence, right in zip(sets["confidence"], sets["right"], strict=True):
        # MAPIE 1.6.0 takes NaN for the p-value of a threshold without rows, and its Holm procedure then stops at once.
        reached = sets["grid"][sets["grid"] <= confidence.max()]
        controller = BinaryClassificationController(
            predict_function=probabilities,
            risk="precision",
            target_level=1.0 - float(sets["alpha"]),
            confidence_level=1.0 - float(sets["delta"]),
            list_predict_params=reached,
            fwer_method="bonferroni_holm",
        )
        controller.calibrate(confidence.reshape(-1, 1), right.astype(int))
        thresholds.append(controller.best_predict_param)
    print(json.dumps(thresholds))


if __name__ == "__main__":
    main()
