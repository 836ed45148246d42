"""The Weighbridge specification, implemented independently by the standard library alone.

Written from spec/, to be read and not to be fast. Each module names its page.

    refused      a refusal with its number           (error-codes.md)
    blake3       hash, derive_key, subtrees          (file-tree.md)
    ed25519      strict signatures                   (head.md)
    values       numbers, times, names, paths        (head.md, lists.md)
    filetree     chunks and chunk layers             (file-tree.md)
    trees        Merkle trees over lists, proofs     (trees.md)
    note, head   signed notes, keys, the head        (head.md)
    lists        files.jsonl and tensors.jsonl       (lists.md)
    trust        policies and the verdict on a head  (trust.md)
    memory       heads that were accepted before     (trust.md)
    proof        proofs of entries and absence       (proofs.md)
    slices       ranges of files, as Bao has them    (slices.md)
    statements   challenges, reports, receipts       (statements.md)
    audit        samples and responses               (audits.md)
    held         counting reports                    (trust.md)
    push         what a receiver lacks               (push.md)
    swarm        tickets, messages, pieces, owners   (swarm.md)
    strict_json  JSON without repairs                (tensors.md)
    tensors      safetensors, sharded indexes        (tensors.md)
    gguf         GGUF, split models                  (gguf.md)
    model        a model folder                      (model-folder.md)
"""
