"""Envelopes and statements: docs/formats/attestation.md, "Envelopes" and "model.sig"."""
import json

from .canonical import FORMS, canonical, check_members, parse_canonical, refuse_number, whole_number
from .files import STATEMENT, read_file
from .json_text import is_deep
from .notes import strict_base64
from .p256 import verify_p256
from .report import Rejected, require, require_equal

PAYLOAD_TYPE = "application/vnd.in-toto+json"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"


def unique(pairs):
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError("a member stands twice")
    return dict(pairs)


def parse_plain(data, where):
    """JSON in any spelling, each member once, no floating-point numbers."""
    require(not is_deep(data), "JSON that nests too deeply", "at most 64 levels", "more", where)
    try:
        return json.loads(data.decode("utf-8"), parse_int=whole_number, parse_float=refuse_number,
                          parse_constant=refuse_number, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise Rejected("not JSON", "JSON", str(error), where) from None


def require_same(expected, came, what, where):
    """Values that must agree to the last member; names the first that does not."""
    if canonical(expected) == canonical(came):
        return
    at = ""
    while isinstance(expected, dict) and isinstance(came, dict):
        name = next((n for n in sorted({*expected, *came}) if n not in expected or n not in came or
                     canonical(expected[n]) != canonical(came[n])), None)
        if name is None or name not in expected or name not in came:
            raise Rejected(what, sorted(expected), sorted(came), f"{where}{at}/{name}")
        expected, came, at = expected[name], came[name], f"{at}/{name}"
    raise Rejected(what, expected, came, f"{where}{at}")


def open_envelope(envelope, key, where):
    """The statement in a DSSE envelope whose one signature holds."""
    point, key_id = key
    check_members(envelope, {"payload": "text", "payloadType": "text", "signatures": "array"}, where)
    require_equal(PAYLOAD_TYPE, envelope["payloadType"], "an envelope of another type", where)
    require_equal(1, len(envelope["signatures"]), "an envelope has one signature", where)
    signed = envelope["signatures"][0]
    check_members(signed, {"keyid": "text", "sig": "text"}, where)
    require_equal(key_id, signed["keyid"], "an envelope is signed by another key", where)
    payload, signature = strict_base64(envelope["payload"]), strict_base64(signed["sig"])
    message = b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)
    require(verify_p256(point, message, signature), "the signature of an envelope does not hold", "that of the given key",
            signed["sig"], where)
    statement = parse_canonical(payload, where)
    check_members(statement, {"_type": "text", "subject": "array", "predicateType": "text", "predicate": "object"}, where)
    require_equal("https://in-toto.io/Statement/v1", statement["_type"], "a statement of another form", where)
    require(statement["subject"], "a statement is about something", "a subject", "none", where)
    for subject in statement["subject"]:
        check_members(subject, {"name": "text", "digest": "object"}, where)
        check_members(subject["digest"], {"sha256": "digest"}, where)
    return statement


def read_statement(path, key):
    return open_envelope(parse_plain(read_file(path, STATEMENT), path), key, path)


def read_bundle(path, key):
    """The statement in a Sigstore bundle of this key."""
    bundle = parse_plain(read_file(path, STATEMENT), path)
    require(FORMS["object"][0](bundle), "not a bundle", "an object", bundle, path)
    require_same({"mediaType": BUNDLE_TYPE, "dsseEnvelope": bundle.get("dsseEnvelope"),
                  "verificationMaterial": {"publicKey": {"hint": key[1]}, "tlogEntries": []}}, bundle,
                 "not a bundle of this key", path)
    return open_envelope(bundle["dsseEnvelope"], key, path)


def statement(kind, subjects, predicate):
    return {"_type": "https://in-toto.io/Statement/v1", "predicateType": kind, "predicate": predicate,
            "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in subjects]}


def subjects_of(said):
    return [(subject["name"], subject["digest"]["sha256"]) for subject in said["subject"]]
