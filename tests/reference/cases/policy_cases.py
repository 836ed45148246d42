"""Policies (spec/trust.md#the-policy). Policies with auditors are in held_cases."""

from weighbridge_ref import ed25519, note
from weighbridge_ref.head import head_id

from .common import (ALICE, ALICE_AGAIN, BOB, CAROL, CREATED, HEAD, MALLORY, Cases, TestKey, accepted, head_text,
                     policy, publisher, refused)
from .text_cases import small_order_points

LATER = "2026-12-01T00:00:00Z"


def cases() -> Cases:
    yield from forms()
    yield from toml_1_1()
    yield from pairs()


def good(name, comment, data):
    return accepted(f"policy/{name}", "policy", comment, {"policy.toml": data})


def bad(name, code, comment, data, rule=None):
    return refused(f"policy/{name}", "policy", code, comment, {"policy.toml": data}, rule=rule)


def quoted(*values: str) -> str:
    return "[" + ", ".join(f'"{value}"' for value in values) + "]"


def forms() -> Cases:
    one = publisher("org/*", ALICE)
    some_id = head_id(head_text()).hex()
    yield good("one-publisher", "one key for one prefix; the threshold is 1", policy(one))
    yield good("everything", "each key of the form",
               policy(publisher("*", ALICE, (BOB, f'from = "{CREATED}"\nuntil = "{LATER}"\n'), threshold=2),
                      publisher("org/model", CAROL), revoked=quoted(MALLORY.vkey), accepted_heads=quoted(some_id)))
    yield good("accepted-heads-only", "nobody but a head id", policy(accepted_heads=quoted(some_id)))

    yield bad("not-toml", 1601, "no TOML", b"[[publisher\n")
    yield bad("unknown-key", 1601, "a key that a typing error made", policy(one.replace("[[publisher.key]]",
              "treshold = 2\n[[publisher.key]]")), rule=9)
    yield bad("unknown-top-key", 1601, "an option that the form does not have", policy(one, allow_expired="true"),
              rule=9)
    yield bad("date-without-quotes", 1601, "a TOML date, and no string", policy(publisher("*", (ALICE,
              f"from = {CREATED}\n"))))
    yield bad("same-scope", 1602, "two publishers for one prefix", policy(one, publisher("org/*", BOB)))
    for name, scope in (("prefix-slash", "org/"), ("prefix-star", "org*"), ("two-stars", "org/**")):
        yield bad(f"scope-{name}", 1603, f"scope `{scope}`", policy(publisher(scope, ALICE)))
    yield good("importer", "beside a publisher of the same scope, and one whose role is written out",
               policy(one, publisher("org/*", BOB, role="import"), publisher("*", CAROL, role="publisher")))
    yield bad("same-scope-and-role", 1602, "two importers for one prefix",
              policy(publisher("org/*", ALICE, role="import"), publisher("org/*", BOB, role="import")))
    yield bad("same-scope-role-written", 1602, "the role of one is written out",
              policy(one, publisher("org/*", BOB, role="publisher")))
    yield bad("role-unknown", 1607, "another word", policy(publisher("org/*", ALICE, role="importer")), rule=9)
    yield bad("role-upper-case", 1607, "words are as they are written", policy(publisher("org/*", ALICE, role="Import")))
    yield bad("role-number", 1601, "no string", policy(one.replace("[[publisher.key]]", "role = 1\n[[publisher.key]]")))
    yield bad("role-after-scope", 1603, "the scope comes before the role", policy(publisher("org*", ALICE, role="x")))
    yield bad("role-before-keys", 1607, "the role comes before the keys", policy(publisher("org/*", role="x")))
    yield bad("threshold-zero", 1604, "no signature would be needed", policy(publisher("*", ALICE, threshold=0)))
    yield bad("threshold-too-high", 1604, "2 of 1", policy(publisher("*", ALICE, threshold=2)))
    yield bad("threshold-of-names", 1604, "2 of 1: two names of one key", policy(publisher("*", ALICE, ALICE_AGAIN,
              threshold=2)))
    yield bad("empty", 1605, "no byte", b"")
    yield bad("no-keys", 1605, "a publisher without keys", policy(publisher("*")))
    yield bad("from-is-until", 1606, "a span of no second",
              policy(publisher("*", (ALICE, f'from = "{LATER}"\nuntil = "{LATER}"\n'))))
    yield bad("time-malformed", 1702, "a date without time", policy(publisher("*", (ALICE, 'from = "2026-11-20"\n'))))
    yield bad("vkey-id", 1502, "a vkey under another name", policy(one.replace("alice.example/", "alice.example:")))
    weak = TestKey("weak.example")
    weak.vkey = weak_vkey(weak.name)
    yield bad("vkey-weak", 1505, "a key that anyone can sign for", policy(publisher("*", weak)))
    yield bad("accepted-head-short", 1703, "63 digits", policy(one, accepted_heads=quoted(some_id[1:])))


def toml_1_1() -> Cases:
    """The additions of TOML 1.1, one in each case, and similar texts that TOML 1.0 has."""
    one = publisher("*", ALICE)
    inline = f'key = [{{ vkey = "{ALICE.vkey}" }}]\n'
    scoped = '[[publisher]]\nscope = "org/*"\n'
    yield good("escapes", "escapes of TOML 1.0", policy(scoped.replace("org", r"\u006f\U00000072g"), inline))
    yield bad("escape-x", 1601, r"`\x6f` for `o`", policy(scoped.replace("org", r"\x6frg"), inline), rule=6)
    yield bad("escape-x-in-key", 1601, "the same in a name", policy(scoped.replace("scope", r'"s\x63ope"'), inline),
              rule=6)
    yield bad("escape-x-of-lines", 1601, "the same in a string of several lines",
              policy(scoped.replace('"org/*"', r'"""\x6frg/*"""'), inline), rule=6)
    yield bad("escape-e", 1601, r"`\e`: in TOML 1.0 no string, and so no malformed vkey",
              policy(one, revoked=r'["\e"]'), rule=6)
    yield bad("escaped-escape", 1501, r"`\\e` is a backslash and `e`", policy(one, revoked=r'["\\e"]'))
    yield good("literal-backslash", "in single quotes a backslash is one",
               policy(one, f"[[publisher]]\nscope = 'org/*' # \\x6f\n{inline}"))
    yield bad("literal-x", 1603, "in single quotes nothing is escaped", policy(scoped.replace('"org/*"', r"'\x6frg'"),
              inline))
    yield bad("inline-line-end", 1601, "a line end in an inline table",
              policy(scoped, inline.replace("{ ", "{\n")), rule=6)
    yield bad("inline-comment", 1601, "a comment in an inline table",
              policy(scoped, inline.replace(" }", " # alice\n}")), rule=6)
    yield bad("inline-comma", 1601, "a comma at the end of an inline table", policy(scoped, inline.replace(" }", ", }")),
              rule=6)
    yield bad("inline-nested", 1601, "a line end in an inline table in an array in an inline table",
              policy(f'publisher = [{{ scope = "*", key = [{{ vkey = "{ALICE.vkey}"\n }}] }}]\n'), rule=6)
    yield good("inline-array", "the line end and the comma belong to the array",
               policy(f'publisher = [{{ scope = "*", key = [ # alice\n{{ vkey = "{ALICE.vkey}" }},\n] }},\n]\n'))
    yield good("inline-lines", "the line end belongs to the string",
               policy(scoped, f'key = [{{ vkey = """\n{ALICE.vkey}""" }}]\n'))
    yield bad("not-utf8", 1601, "a byte that is no UTF-8, in a comment", policy(one) + b"# \xff\n", rule=6)
    yield bad("surrogate", 1601, "a surrogate in UTF-8", policy(one) + b"# \xed\xa0\x80\n", rule=6)
    yield bad("surrogate-escaped", 1601, "an escaped surrogate", policy(one, revoked=r'["\ud800"]'), rule=6)


def pairs() -> Cases:
    """Two faults in each case: the fault that the page names first is reported, not the first in the text."""
    vkey, key = f'vkey = "{ALICE.vkey}"\n', "[[publisher.key]]\n"
    scope, no_scope = '[[publisher]]\nscope = "a"\n', '[[publisher]]\nscope = "a/"\n'
    soon, turned = 'from = "soon"\n', f'from = "{LATER}"\nuntil = "{CREATED}"\n'
    fine = scope + key + vkey
    zero, bad_key = "threshold = 0\n", key + 'vkey = "x"\n'

    def pair(name, code, comment, text, **top):
        return bad(f"two-faults-{name}", code, comment, policy(text, **top))

    yield pair("form-revoked", 1601, "an unknown key at the very end", fine + "scop = 1\n", revoked='["x"]')
    yield pair("form-accepted-head", 1601, "a number among head ids behind a malformed one", fine,
               accepted_heads='["x", 1]')
    yield pair("form-scope", 1601, "the form of the second publisher, the scope of the first",
               no_scope + key + vkey + scope + "threshold = -1\n" + key + vkey)
    yield pair("revoked-accepted-head", 1501, "a malformed vkey and a malformed head id", fine,
               accepted_heads='["x"]', revoked='["x"]')
    yield pair("accepted-head-scope", 1703, "a malformed head id and a malformed scope", no_scope + key + vkey,
               accepted_heads='["x"]')
    yield pair("revoked-twice", 1501, "two bad vkeys: the first is told", fine,
               revoked=quoted("x", weak_vkey("weak.example")))
    yield pair("scope-vkey", 1603, "a malformed scope and a malformed vkey", no_scope + bad_key)
    yield pair("scope-no-keys", 1603, "a malformed scope and no keys", no_scope)
    yield pair("vkey-from", 1501, "a malformed vkey and a malformed time", scope + bad_key + soon)
    yield pair("from-dates", 1702, "a malformed `until`, and so no order of the two",
               scope + key + vkey + f'from = "{LATER}"\nuntil = "soon"\n')
    yield pair("dates-next-vkey", 1606, "the dates of the first key, the vkey of the second",
               scope + key + vkey + turned + bad_key)
    yield pair("vkey-threshold", 1501, "a malformed vkey and a threshold of 0", scope + zero + bad_key)
    yield pair("dates-threshold", 1606, "the dates of a key and a threshold of 0", scope + zero + key + vkey + turned)
    yield pair("no-keys-threshold", 1605, "no keys and a threshold of 0", scope + zero)
    yield pair("no-keys-same-scope", 1605, "no keys and a scope that another has", fine + scope)
    yield pair("threshold-same-scope", 1604, "a threshold of 0 and a scope that another has", fine + scope + zero + key + vkey)
    yield pair("threshold-next-scope", 1604, "the threshold of the first publisher, the scope of the second",
               scope + zero + key + vkey + no_scope + key + vkey)
    yield pair("same-scope-next-vkey", 1602, "the scope of the second publisher, a vkey of the third",
               fine + fine + scope.replace('"a"', '"b"') + bad_key)
    auditor = "[[held.auditor]]\n"
    yield pair("same-scope-held", 1602, "the scope of a publisher and the vkey of an auditor",
               fine + fine + auditor + 'vkey = "x"\n')
    yield pair("nobody-held", 1605, "nobody publishes, and the vkey of an auditor", auditor + 'vkey = "x"\n')
    yield pair("held-vkey-threshold", 1501, "the vkey of an auditor and the threshold",
               fine + "[held]\n" + zero + auditor + 'vkey = "x"\n')
    yield pair("held-no-keys-threshold", 1605, "no auditor and a threshold of 0", fine + "[held]\n" + zero)


def weak_vkey(name: str) -> str:
    return note.vkey_line(name, ed25519.encode(small_order_points()[4]))
