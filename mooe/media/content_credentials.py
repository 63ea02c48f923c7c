"""C2PA manifests ("content credentials"): who made a file and how, signed, inside the file.

Needs the extra `c2pa`. Without a certificate of one's own, files are signed with one that is made for the running
process: readers then see an intact manifest of an unknown signer. Set ``MOOE_C2PA_CERTIFICATE`` (a PEM chain) and
``MOOE_C2PA_KEY`` (a PEM key, ES256) to sign as yourself, or ``MOOE_C2PA=off`` to leave the manifest out.
"""

from __future__ import annotations

import datetime
import importlib.util
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from mooe.errors import ConfigError, DependencyError

AI_SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's name for media made by a trained model."""
_CERTIFICATE, _KEY, _SWITCH = "MOOE_C2PA_CERTIFICATE", "MOOE_C2PA_KEY", "MOOE_C2PA"


def available() -> bool:
    """Whether the extra `c2pa` is installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("c2pa", "cryptography"))


def wanted() -> bool:
    """Whether videos get a manifest: the extra is installed and not switched off."""
    return available() and os.environ.get(_SWITCH, "").lower() not in ("off", "0", "no")


def sign(source: Path, target: Path) -> None:
    """Copy an mp4 with a signed manifest in it; `target` must not exist.

    Raises:
        ConfigError: the certificate or the key that the environment names cannot be used.
    """
    import c2pa

    from mooe import __version__

    manifest = {
        "claim_generator_info": [{"name": "mooe", "version": __version__}],
        "title": "AI-generated video",
        "assertions": [
            {
                "label": "c2pa.actions",
                "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": AI_SOURCE}]},
            }
        ],
    }
    try:
        with (
            c2pa.Signer.from_info(_signer()) as signer,
            c2pa.Builder(json.dumps(manifest)) as builder,
            source.open("rb") as unsigned,
            target.open("w+b") as signed,
        ):
            builder.sign(signer, "video/mp4", unsigned, signed)
    except c2pa.C2paError as error:
        raise ConfigError(
            f"The video cannot be signed ({error}): check {_CERTIFICATE} and {_KEY}, or set {_SWITCH}=off."
        ) from error


def read_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest in a file.

    Returns:
        None when there is none, else ``state`` ("Valid", "Trusted" or "Invalid": changed since it was signed),
        ``generator``, ``signer``, ``ai_generated``.

    Raises:
        DependencyError: the extra is not installed.
    """
    if not available():
        raise DependencyError("Reading C2PA manifests needs the extra: pip install 'mooe[c2pa]'.")
    import c2pa

    try:
        with c2pa.Reader("video/mp4", path.open("rb")) as reader:
            content, state = json.loads(reader.json()), str(reader.get_validation_state())
    except c2pa.C2paError:
        return None  # no manifest, or a container that cannot hold one
    manifest = content["manifests"][content["active_manifest"]]
    generators = [info.get("name", "") for info in manifest.get("claim_generator_info", [])]
    return {
        "state": state,
        "generator": ", ".join(filter(None, generators)),
        "signer": manifest.get("signature_info", {}).get("issuer", ""),
        "ai_generated": any(source == AI_SOURCE for source in _sources(manifest)),
    }


def _sources(manifest: dict[str, Any]) -> list[str]:
    actions = [
        action
        for assertion in manifest.get("assertions", [])
        if assertion["label"].startswith("c2pa.actions")
        for action in assertion["data"].get("actions", [])
    ]
    return [action.get("digitalSourceType", "") for action in actions]


def _signer() -> Any:
    import c2pa

    chain, key = os.environ.get(_CERTIFICATE), os.environ.get(_KEY)
    if not (chain or key):
        pem_chain, pem_key = _own_certificate()
        return c2pa.C2paSignerInfo(c2pa.C2paSigningAlg.ED25519, pem_chain, pem_key, None)
    try:
        return c2pa.C2paSignerInfo(
            c2pa.C2paSigningAlg.ES256, Path(chain or "").read_bytes(), Path(key or "").read_bytes(), None
        )
    except OSError as error:
        raise ConfigError(f"{_CERTIFICATE} and {_KEY} must both name PEM files that can be read.") from error


@lru_cache(maxsize=1)
def _own_certificate() -> tuple[bytes, bytes]:
    """A certificate chain and a key (PEM) for this process; C2PA takes no certificate that signs itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    root_key, key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    root_name, name = (
        x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "mooe"), x509.NameAttribute(NameOID.COMMON_NAME, cn)])
        for cn in ("mooe, made on the spot", "mooe")
    )
    now = datetime.datetime.now(datetime.UTC)

    def start(subject: x509.Name, of: Ed25519PrivateKey, authority: bool) -> x509.CertificateBuilder:
        usage = x509.KeyUsage(True, False, False, False, False, authority, authority, False, False)
        return (
            x509.CertificateBuilder(root_name, subject, of.public_key(), x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=365))
            .add_extension(x509.BasicConstraints(authority, None), True)
            .add_extension(usage, True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(of.public_key()), False)
        )

    root = start(root_name, root_key, authority=True).sign(root_key, None)
    leaf = start(name, key, authority=False)
    leaf = leaf.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
    certificate = leaf.add_extension(authority, False).sign(root_key, None)
    chain = certificate.public_bytes(Encoding.PEM) + root.public_bytes(Encoding.PEM)
    return chain, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
