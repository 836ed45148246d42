"""All vectors, by kind."""

from . import (audit_cases, blame_cases, filetree_cases, gguf_cases, head_cases, held_cases, list_cases, memory_cases,
               model_cases, note_cases, policy_cases, proof_cases, push_cases, serving_cases, slice_cases, statement_cases,
               swarm_cases, tensor_cases, text_cases, tree_cases, trust_cases)

MAKERS = (filetree_cases, text_cases, head_cases, note_cases, policy_cases, trust_cases, memory_cases, list_cases,
          tree_cases, tensor_cases, gguf_cases, model_cases, proof_cases, slice_cases, statement_cases, audit_cases, held_cases,
          blame_cases, serving_cases, push_cases, swarm_cases)


def all_cases():
    for maker in MAKERS:
        yield from maker.cases()
