"""Paths of a server (spec/serving.md; spec/push.md)."""

from .common import Cases, accepted


HEAD_ID = "0123456789abcdef" * 4


def cases() -> Cases:
    yield from served()
    yield from pushed()


def names(name, target, comment, route, path=None, **answers):
    sections = {"target": target.encode()} | ({} if path is None else {"path": path.encode()})
    return accepted(f"route/{name}", "route", comment, sections, route=route, **answers)


def nothing(name, target, comment):
    target = target if isinstance(target, bytes) else target.encode()
    return accepted(f"route/{name}", "route", comment, {"target": target}, route="none")


def served() -> Cases:
    model = "org/model"
    yield names("page", "/", "what is served, for people", "page")
    yield names("metrics", "/metrics", "figures", "metrics")
    yield names("file", "/org/model/config.json", "a file", "file", "config.json", model=model)
    yield names("file-in-folder", "/org/model/a/b/c.bin", "a file in folders", "file", "a/b/c.bin", model=model)
    yield names("escaped", "/org/model/a%20b/%C3%A4", "percent signs are decoded", "file", "a b/ä", model=model)
    yield names("escaped-slash", "/org/model/a%2Fb", "matched after it is decoded", "file", "a/b", model=model)
    yield names("escaped-once", "/org/model/%252e%252e", "and not decoded again", "file", "%2e%2e", model=model)
    yield names("plus", "/org/model/a+b", "a plus is a plus in a path", "file", "a+b", model=model)
    yield names("like-metadata", "/org/model/weighbridge.txt", "no folder `weighbridge`", "file", "weighbridge.txt", model=model)
    yield names("like-a-hub", "/org/model/tree/main/x", "no path of a hub without /api", "file", "tree/main/x", model=model)
    yield names("metadata", "/org/model/weighbridge/head.note", "the head", "metadata", "head.note", model=model)
    yield names("layers", "/org/model/weighbridge/chunks.layer", "the layers", "metadata", "chunks.layer", model=model)
    yield names("proof", "/org/model/weighbridge/proof", "a proof", "proof", model=model)
    yield names("slice", "/org/model/weighbridge/slice", "a slice", "slice", model=model)
    yield names("audit", "/org/model/weighbridge/audit", "a challenge", "audit", model=model)
    yield names("ticket", "/org/model/weighbridge/ticket", "a ticket", "ticket", model=model)
    yield names("resolve", "/org/model/resolve/main/a/b", "as a hub has it", "resolve", "a/b", model=model, revision="main")
    yield names("resolve-shadowed", "/org/model/resolve/main/resolve/main/x", "a file that looks like a path of a hub", "resolve",
                "resolve/main/x", model=model, revision="main")
    yield names("info", "/api/models/org/model", "a model", "info", model=model)
    yield names("info-of-revision", "/api/models/org/model/revision/main", "a release", "info", model=model, revision="main")
    yield names("tree", "/api/models/org/model/tree/main", "its files", "tree", "", model=model, revision="main")
    yield names("tree-of-folder", "/api/models/org/model/tree/main/a/b/", "a slash at the end is none", "tree", "a/b",
                model=model, revision="main")

    yield nothing("dot-segments", "/org/model/../model/config.json", "there are none")
    yield nothing("dot-segments-escaped", "/org/model/%2e%2e/x", "nor when they are decoded")
    yield nothing("dot", "/org/model/./x", "nor this one")
    yield nothing("empty-segment", "/org/model//x", "no two slashes")
    yield nothing("slash-at-end", "/org/model/x/", "a file is no folder")
    yield nothing("model-alone", "/org/model", "a model has no page")
    yield nothing("one-part", "/model", "names have two parts")
    yield nothing("name-of-metadata", "/org/weighbridge/x", "the folder of such a model would be that of metadata")
    yield nothing("organisation-of-metadata", "/WeighBridge/model/x", "in letters of any case")
    yield nothing("percent-alone", "/org/model/100%", "no two digits behind it")
    yield nothing("percent-odd", "/org/model/%2g", "no hexadecimal digits")
    yield nothing("not-utf8", "/org/model/%FF", "no text")
    yield nothing("overlong", "/org/model/%C0%AE%C0%AE/x", "no other form of a dot")
    yield nothing("control", "/org/model/a%00b", "a NUL")
    yield nothing("line-feed", "/org/model/a%0Ab", "a LF")
    yield nothing("other-metadata", "/org/model/weighbridge/head.txt", "no verifier reads it")
    yield nothing("below-metadata", "/org/model/weighbridge/partial/x", "what is not complete is nobody's")
    yield nothing("resolve-nothing", "/org/model/resolve/main", "a revision is no file")
    yield nothing("resolve-no-revision", "/org/model/resolve//x", "no revision")
    yield nothing("api-is-no-organisation", "/api/models/config.json", "not the file of a model `api/models`")
    yield nothing("api-other", "/api/whoami-v2", "what a server does not know of a hub")
    yield nothing("api-discussions", "/api/models/org/model/discussions", "nor this")
    yield nothing("relative", "org/model/x", "no slash at the beginning")


def pushed() -> Cases:
    upload = f"/api/push/v1/org/model/{HEAD_ID}"

    def part(name, rest, comment, part, path=None):
        return names(f"push-{name}", upload + rest, comment, "push", path, model="org/model", head=HEAD_ID, part=part)

    def none(name, rest, comment):
        return nothing(f"push-{name}", upload + rest, comment)

    def no_head(name, head, comment, rest=""):
        return nothing(f"push-head-{name}", f"/api/push/v1/org/model/{head}{rest}", comment)

    yield part("upload", "", "an upload: offered, asked for its state, given up", "upload")
    yield part("missing", "/missing", "what is missing", "missing")
    yield part("publish", "/publish", "the end of it", "publish")
    yield part("file-list", "/weighbridge/files.jsonl", "the file list", "metadata", "files.jsonl")
    yield part("tensor-list", "/weighbridge/tensors.jsonl", "the tensor list", "metadata", "tensors.jsonl")
    yield part("layers", "/weighbridge/chunks.layer", "layers", "metadata", "chunks.layer")
    yield part("file", "/files/config.json", "a file", "file", "config.json")
    yield part("file-in-folder", "/files/a/b/c.bin", "a file in folders", "file", "a/b/c.bin")
    yield part("file-escaped", "/files/a%20b/%C3%A4", "percent signs are decoded", "file", "a b/ä")
    yield part("file-escaped-once", "/files/%252e%252e/100%2525", "and not decoded again", "file", "%2e%2e/100%25")
    yield part("file-escaped-slash", "/files%2Fa%2Fb", "matched after it is decoded", "file", "a/b")
    yield part("file-like-missing", "/files/missing", "a file of this name", "file", "missing")
    yield part("file-like-publish", "/files/publish", "a file of this name", "file", "publish")
    yield part("file-like-files", "/files/files/x", "a file in a folder of this name", "file", "files/x")
    yield part("file-like-metadata", "/files/weighbridge/head.note", "no list of files has it, and that decides", "file",
               "weighbridge/head.note")
    yield part("file-like-resolve", "/files/resolve/main/x", "as a hub has it", "file", "resolve/main/x")
    yield names("push-escaped-name", f"/api/push/v1/%6Frg%2Fmodel/{HEAD_ID}", "the name is decoded too", "push",
                model="org/model", head=HEAD_ID, part="upload")

    yield no_head("short", HEAD_ID[:40], "40 digits name a revision of a hub, and no head here")
    yield no_head("63-digits", HEAD_ID[:63], "one digit less")
    yield no_head("65-digits", HEAD_ID + "0", "one digit more")
    yield no_head("upper-case", HEAD_ID.upper(), "upper-case digits")
    yield no_head("not-hex", "g" + HEAD_ID[1:], "not a digit")
    yield no_head("wide-digit", "%EF%BC%90" + HEAD_ID[1:], "a digit that is not ASCII")
    yield no_head("revision", "main", "a revision of a hub", "/missing")
    yield no_head("none", "missing", "no head")
    yield no_head("empty", "", "nothing behind the slash")
    yield no_head("between-slashes", "", "nothing between two slashes", "/missing")

    yield none("head-note", "/weighbridge/head.note", "the head is the offer")
    yield none("other-metadata", "/weighbridge/lock", "no verifier reads it")
    yield none("below-metadata", "/weighbridge/files.jsonl/x", "a list is no folder")
    yield none("metadata-folder", "/weighbridge/", "no list is named")
    yield none("metadata-alone", "/weighbridge", "nor here")
    yield none("no-file", "/files/", "no file is named")
    yield none("files-alone", "/files", "nor here")
    yield none("dot-segments", "/files/../x", "there are none")
    yield none("dot-segments-escaped", "/files/%2e%2e/x", "nor when they are decoded")
    yield none("dot", "/files/./x", "nor this one")
    yield none("empty-segment", "/files/a//b", "no two slashes")
    yield none("file-slash-at-end", "/files/x/", "a file is no folder")
    yield none("file-control", "/files/a%0Ab", "a LF")
    yield none("file-percent-alone", "/files/100%", "no two digits behind it")
    yield none("other-word", "/state", "no part of an upload")
    yield none("word-upper-case", "/Missing", "words are as they are written")
    yield none("slash-at-end", "/", "an upload is no folder")
    yield none("missing-slash-at-end", "/missing/", "nor is this")
    yield none("below-publish", "/publish/x", "nor this")

    yield nothing("push-version-2", f"/api/push/v2/org/model/{HEAD_ID}", "another version")
    yield nothing("push-no-version", f"/api/push/org/model/{HEAD_ID}", "no version")
    yield nothing("push-no-head", "/api/push/v1/org/model", "no head")
    yield nothing("push-alone", "/api/push/v1", "no model")
    yield nothing("push-one-part", f"/api/push/v1/model/{HEAD_ID}", "names have two parts")
    yield nothing("push-three-parts", f"/api/push/v1/org/team/model/{HEAD_ID}", "no more than two")
    yield nothing("push-name-of-api", f"/api/push/v1/api/x/{HEAD_ID}", "`api` is no organisation")
    yield nothing("push-malformed-name", f"/api/push/v1/org/.model/{HEAD_ID}", "a part begins with a letter or digit")
