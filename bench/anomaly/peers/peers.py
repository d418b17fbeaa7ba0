"""AUROC of Python detectors on one task: python peers.py DIR, where DIR has train.npy, normal.npy and anomalous.npy.

Rows are standardised by the training part, as their users do. Prints one JSON object.
"""

import json
import signal
import sys
import warnings
from importlib.util import find_spec

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor
from sklearn.svm import OneClassSVM

warnings.filterwarnings("ignore")
SEED = 1
# Kernel methods take quadratic time: they learn from this many rows at most.
LARGEST = 10_000
# A detector that takes longer for one task is left out of it.
SECONDS = 60


def too_slow(*_):
    raise TimeoutError(f"took more than {SECONDS} seconds")


def detectors():
    yield "IsolationForest", lambda: IsolationForest(random_state=SEED), None
    yield "LOF", lambda: LocalOutlierFactor(n_neighbors=20, novelty=True), LARGEST
    yield "OneClassSVM", lambda: OneClassSVM(), LARGEST
    if find_spec("pyod") is None:
        return
    from pyod.models.copod import COPOD
    from pyod.models.ecod import ECOD
    from pyod.models.knn import KNN
    from pyod.models.mcd import MCD

    yield "COPOD", COPOD, None
    yield "ECOD", ECOD, None
    yield "MCD", lambda: MCD(random_state=SEED), None
    yield "kNN", KNN, LARGEST
    if find_spec("torch") is not None:
        from pyod.models.vae import VAE

        yield "VAE (PyOD)", lambda: VAE(random_state=SEED), None


def anomaly_scores(detector, rows):
    # PyOD gives larger numbers to anomalies, scikit-learn smaller ones.
    if type(detector).__module__.startswith("pyod"):
        return detector.decision_function(rows)
    return -detector.score_samples(rows)


def main(directory):
    train, normal, anomalous = (
        np.load(f"{directory}/{part}.npy").astype(np.float64).reshape(-1, np.load(f"{directory}/{part}.npy")[0].size)
        for part in ("train", "normal", "anomalous")
    )
    mean, deviation = train.mean(0), train.std(0)
    deviation[deviation == 0] = 1
    train = (train - mean) / deviation
    test = (np.concatenate([normal, anomalous]) - mean) / deviation
    truth = np.r_[np.zeros(len(normal)), np.ones(len(anomalous))]
    areas = {}
    signal.signal(signal.SIGALRM, too_slow)
    for name, make, limit in detectors():
        rows = train
        if limit is not None and len(rows) > limit:
            rows = rows[np.random.RandomState(SEED).permutation(len(rows))[:limit]]
        signal.alarm(SECONDS)
        try:
            detector = make().fit(rows)
            areas[name] = float(roc_auc_score(truth, anomaly_scores(detector, test)))
        except Exception as error:  # A detector that cannot take the data is left out of the means, and said so.
            print(f"{name}: {error}", file=sys.stderr)
            areas[name] = None
        finally:
            signal.alarm(0)
    print(json.dumps(areas))


main(sys.argv[1])
