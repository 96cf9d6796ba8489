"""Mutations of what bounds the releases: the certificate, its suspension, and the audits that it is watched by."""

from __future__ import annotations

from tests.mutations.tree import Edit, Mutation

CERTIFICATE = Mutation(
    name="certificate",
    invariant="I8",
    meaning="what no certificate bounds is released by the policy's threshold alone",
    edits=(
        Edit(
            "gateway/policy.py",
            "if certified is None and policy.without_certificate is not Action.RELEASE:",
            "if False:",
        ),
    ),
    tests=("tests/gateway/test_certified_policy.py",),
)

OWN_CALIBRATION = Mutation(
    name="own_calibration",
    invariant="I8",
    meaning="a certificate counts for the confidences of every calibration",
    edits=(
        Edit(
            "gateway/policy.py",
            "if certificate is None or certificate.calibration_id != confidence.calibration_id:",
            "if certificate is None:",
        ),
    ),
    tests=("tests/gateway/test_certified_policy.py",),
)

SUSPENSION = Mutation(
    name="suspension",
    invariant="I8",
    meaning="a suspended certificate releases as one in force",
    edits=(
        Edit(
            "gateway/policy.py",
            "if standing is not None and standing.state is not CertificateState.IN_FORCE:",
            "if standing is None and False:",
        ),
    ),
    tests=("tests/gateway/test_certified_policy.py",),
)

NO_RETURN = Mutation(
    name="no_return",
    invariant="I8",
    meaning="a certificate of before the alarm can be put in force again",
    edits=(
        Edit(
            "storage/certificates.py",
            "if wanted.suspended_at is not None or (since is not None and not _is_later(wanted, since)):",
            "if False:",
        ),
    ),
    tests=("tests/storage/test_certificates.py",),
)

ALARM = Mutation(
    name="alarm",
    invariant="I8",
    meaning="audited releases may be wrong as often as they like",
    edits=(Edit("gateway/release_watch.py", "    return alarm and _suspend(", "    return not alarm and _suspend("),),
    tests=("tests/gateway/test_random_audits.py",),
)

VOUCHED_LABELS = Mutation(
    name="vouched_labels",
    invariant="I8",
    meaning="verdicts that were put into the database keep the alarm quiet and make certificates",
    edits=(Edit("storage/labels.py", "        if outcome.vouched is Vouched.OURS\n", ""),),
    tests=("tests/storage/test_labels.py", "tests/storage/test_watches.py"),
)

OF_RELEASES = (CERTIFICATE, OWN_CALIBRATION, SUSPENSION, NO_RETURN, ALARM, VOUCHED_LABELS)
