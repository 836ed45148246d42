"""Paths of a server (spec/serving.md)."""

from .common import Cases, accepted


def cases() -> Cases:
    def names(name, target, comment, route, path=None, **answers):
        sections = {"target": target.encode()} | ({} if path is None else {"path": path.encode()})
        return accepted(f"route/{name}", "route", comment, sections, route=route, **answers)

    def nothing(name, target, comment):
        target = target if isinstance(target, bytes) else target.encode()
        return accepted(f"route/{name}", "route", comment, {"target": target}, route="none")

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
