/*
 * Weighbridge: is this the model that its publisher signed? For C and C++.
 *
 * A policy says whom you trust. With it, wb_head_verify or wb_proof_verify decides about a head; lists are verified under a
 * head, and chunks under a list. wb_model_open does the first steps for a folder on disk. docs/c.md has a first program.
 *
 * These rules hold for all functions:
 *
 * - Results. A function that returns wb_code returns WB_OK, or a code that never changes its meaning. `error` may be null;
 *   if it is not, a call that fails writes to it. What a failed call should have made is null. Functions that return
 *   whether there is something write to their last argument only if there is, and may be given null there.
 * - Memory. Handles are made by the functions that have a `**`, and freed by the function with _free at its end; in any
 *   order, for each keeps what it needs. A handle that `const *` functions return belongs to the handle it came from.
 *   wb_text, and the shape of a wb_tensor, are in memory of the handle, and valid until it is freed. Nothing that you pass
 *   is kept after a call.
 * - Pointers. Each points to as many bytes as its length says, or is null if the length is 0. Other nulls are refused
 *   (WB_ERR_USAGE) or answered by 0, false, null or an empty text. Strings without a length end with NUL, and are UTF-8.
 *   While a call lasts nobody changes what it reads, and nobody else touches what it fills, which overlaps nothing that it
 *   reads. Bytes of a mapped file that others can write to are no such memory: read them into your own.
 * - Threads. Handles may be used from any number of threads at once, without a lock; freeing one needs that nobody uses it.
 *   No function starts a thread.
 * - State. There is none but in handles, and no setting but what is passed. Of files, only wb_model_open and what it gives
 *   use any: those of the folders that are named.
 * - Faults of the library itself do not cross into yours: a function that returns wb_code returns WB_ERR_BUG, and says on
 *   standard error where it was; others end the program, as does memory that runs out. With WB_FREESTANDING all do.
 *
 * Without an operating system, define WB_FREESTANDING, and link a library of the crate without its feature std.
 */


#ifndef WEIGHBRIDGE_H
#define WEIGHBRIDGE_H

/* Made by `cargo xtask header`. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef WB_FREESTANDING
#define WB_HOSTED
#endif
#if defined(__unix__) || defined(__APPLE__)
#define WB_UNIX
#endif

/* The codes of spec/error-codes.md. */
enum {
    WB_ERR_NOTE_TOO_LONG = 1101, /* The note is longer than 131,072 bytes. */
    WB_ERR_NOTE_CHARACTERS = 1102, /* The note is not UTF-8, or has a character below U+0020 other than LF. */
    WB_ERR_NOTE_STRUCTURE = 1103, /* The note has no blank line between a text and its signatures, or does not end with LF. */
    WB_ERR_NOTE_SIGNATURE_LINE = 1104, /* A signature line is malformed. */
    WB_ERR_NOTE_TOO_MANY_SIGNATURES = 1105, /* The note has more than 100 signature lines. */
    WB_ERR_HEAD_TOO_LONG = 1201, /* The text is longer than 4,096 bytes. */
    WB_ERR_HEAD_VERSION = 1202, /* The first line names a version that is not known. */
    WB_ERR_HEAD_LINE = 1203, /* A line is missing, unknown, repeated or out of order. */
    WB_ERR_HEAD_VALUE = 1204, /* The value of a line is malformed. */
    WB_ERR_HEAD_CONTRADICTION = 1205, /* Two lines contradict each other. */
    WB_ERR_LIST_LENGTH = 1301, /* The list's length in bytes is not the signed one. */
    WB_ERR_LIST_LINE_NOT_CANONICAL = 1302, /* A line is not in canonical form. */
    WB_ERR_LIST_LINE_TOO_LONG = 1303, /* A line is longer than 8,192 bytes. */
    WB_ERR_LIST_ORDER = 1304, /* Lines are out of order. */
    WB_ERR_LIST_DUPLICATE = 1305, /* Two lines name the same entry. */
    WB_ERR_LIST_COUNT = 1306, /* The number of lines is not the signed one. */
    WB_ERR_LIST_SUM = 1307, /* The sizes of the files do not add up to the signed sum. */
    WB_ERR_LIST_ROOT = 1308, /* The list does not hash to the signed root. */
    WB_ERR_LIST_NO_TENSOR_FILE = 1309, /* A tensor's file is not in the file list, or is no tensor file. */
    WB_ERR_LIST_TENSOR_OUTSIDE_FILE = 1310, /* A tensor does not lie within its file. */
    WB_ERR_LIST_MIXED_SHA256 = 1311, /* Some files have a `sha256` and some do not. */
    WB_ERR_LIST_FILE_IS_PARENT = 1312, /* One file's path is a parent folder of another's. */
    WB_ERR_PATH_LENGTH = 1401, /* The path is empty or longer than 1,024 bytes. */
    WB_ERR_PATH_ABSOLUTE = 1402, /* The path is absolute. */
    WB_ERR_PATH_EMPTY_COMPONENT = 1403, /* A component is empty. */
    WB_ERR_PATH_DOT_COMPONENT = 1404, /* A component is `.` or `..`. */
    WB_ERR_PATH_CONTROL_CHARACTER = 1405, /* A control character. */
    WB_ERR_PATH_BACKSLASH = 1406, /* A backslash. */
    WB_ERR_PATH_DRIVE = 1407, /* A component looks like a drive (`C:`). */
    WB_ERR_PATH_LONG_COMPONENT = 1408, /* A component is longer than 255 bytes. */
    WB_ERR_PATH_GIT = 1409, /* A component is `.git`. */
    WB_ERR_PATH_RESERVED = 1410, /* The path lies in `weighbridge` or in a `.cache/huggingface`. */
    WB_ERR_PATH_NOT_UTF8 = 1411, /* The name on disk is not UTF-8. */
    WB_ERR_PATH_NOT_NFC = 1421, /* The name is not in Unicode form NFC (refused when weighing). */
    WB_ERR_PATH_SAME_IN_ANOTHER_CASE = 1422, /* Two paths, or folders of them, are the same where case does not count (refused when weighing). */
    WB_ERR_PATH_RESERVED_ON_WINDOWS = 1423, /* Windows takes the path for one in `.git`, `weighbridge` or `.cache/huggingface` (refused when weighing). */
    WB_ERR_NAME_UNSEEN_CHARACTER = 1424, /* A name has a character that is not seen (refused when weighing, and in names of new keys). */
    WB_ERR_TENSOR_NAME_LENGTH = 1431, /* The tensor name is empty or longer than 1,024 bytes. */
    WB_ERR_TENSOR_NAME_CONTROL_CHARACTER = 1432, /* The tensor name has a control character. */
    WB_ERR_VKEY_MALFORMED = 1501, /* The vkey line is malformed. */
    WB_ERR_VKEY_ID = 1502, /* The vkey's key id is not that of its name and key. */
    WB_ERR_VKEY_TYPE = 1503, /* The vkey's signature type is not Ed25519 (0x01). */
    WB_ERR_KEY_ENCODING = 1504, /* The key is no canonical encoding of a curve point. */
    WB_ERR_KEY_WEAK = 1505, /* The key is weak: a point of small order. */
    WB_ERR_KEY_TORSION = 1506, /* The key has a torsion component. */
    WB_ERR_KEY_PEM = 1507, /* The PEM is not an Ed25519 public key. */
    WB_ERR_POLICY_MALFORMED = 1601, /* The policy is not well-formed TOML 1.0 in UTF-8, of the known keys. */
    WB_ERR_POLICY_SAME_SCOPE = 1602, /* Two publishers have the same scope and role. */
    WB_ERR_POLICY_SCOPE = 1603, /* A scope is malformed. */
    WB_ERR_POLICY_THRESHOLD = 1604, /* A threshold is zero or higher than the number of distinct keys. */
    WB_ERR_POLICY_TRUSTS_NOBODY = 1605, /* The policy, a publisher or `held` trusts nobody. */
    WB_ERR_POLICY_KEY_DATES = 1606, /* A key's `from` is not before its `until`. */
    WB_ERR_POLICY_ROLE = 1607, /* A role is neither `publisher` nor `import`. */
    WB_ERR_MODEL_NAME_MALFORMED = 1701, /* A model name is malformed. */
    WB_ERR_TIME_MALFORMED = 1702, /* A time is malformed. */
    WB_ERR_HASH_MALFORMED = 1703, /* A hash is malformed. */
    WB_ERR_CHUNK_SIZE = 1704, /* A chunk size is no power of two from 16,384 to 16,777,216. */
    WB_ERR_STATEMENT_TOO_LONG = 1801, /* The text is longer than 4,096 bytes. */
    WB_ERR_STATEMENT_FIRST_LINE = 1802, /* The first line names another kind of text, or a version that is not known. */
    WB_ERR_STATEMENT_LINE = 1803, /* A line is missing, unknown, repeated or out of order. */
    WB_ERR_STATEMENT_VALUE = 1804, /* The value of a line is malformed. */
    WB_ERR_STATEMENT_CONTRADICTION = 1805, /* Two lines contradict each other. */
    WB_ERR_TICKET_TOO_LONG = 1901, /* A ticket is longer than 65,536 bytes. */
    WB_ERR_TICKET_VERSION = 1902, /* The first line of a ticket names a version that is not known. */
    WB_ERR_TICKET_LINE = 1903, /* A line of a ticket is missing, unknown, repeated or out of order. */
    WB_ERR_TICKET_VALUE = 1904, /* The value of a line of a ticket is malformed. */
    WB_ERR_SWARM_MESSAGE = 1911, /* A message of a member is malformed. */
    WB_ERR_FILE_MISMATCH = 2101, /* A file does not match its signed root; an empty file is told so by its layer already. */
    WB_ERR_CHUNK_MISMATCH = 2102, /* A chunk does not match the signed root. */
    WB_ERR_FILE_LENGTH = 2103, /* A file, or a stream of it or of a run of its chunks, has another length than the signed one. */
    WB_ERR_FILE_MISSING = 2104, /* A listed file is missing. */
    WB_ERR_FILE_NOT_LISTED = 2105, /* A file is not listed. */
    WB_ERR_FILE_CHANGED = 2106, /* A file changed while it was read, or since it was opened. */
    WB_ERR_CHUNK_LENGTH = 2107, /* A chunk has another length than its place in the file gives. */
    WB_ERR_CHUNK_PAST_END = 2108, /* A chunk index is past the end of the file. */
    WB_ERR_FILE_TOO_LARGE = 2109, /* A file is larger than 2^53 − 1 bytes. */
    WB_ERR_LAYERS_LENGTH = 2201, /* The layers have another length than the file list gives. */
    WB_ERR_LAYER_MISMATCH = 2202, /* A file's layer does not merge to its root. */
    WB_ERR_TENSOR_NOT_IN_HEADER = 2301, /* A listed tensor is not in its file's verified header. */
    WB_ERR_TENSOR_NOT_LISTED = 2302, /* A tensor of the verified header is not listed, and others of its file are. */
    WB_ERR_TENSOR_DTYPE = 2303, /* A tensor's dtype differs. */
    WB_ERR_TENSOR_SHAPE = 2304, /* A tensor's shape differs. */
    WB_ERR_TENSOR_OFFSET = 2305, /* A tensor's offset differs. */
    WB_ERR_TENSOR_SIZE = 2306, /* A tensor's size differs. */
    WB_ERR_TENSOR_MISMATCH = 2307, /* A tensor's hash is of other bytes. */
    WB_ERR_TREE_COUNT = 2401, /* The count of the list is zero or above 2^24. */
    WB_ERR_TREE_ORDER = 2402, /* Positions do not strictly increase, or there are none. */
    WB_ERR_TREE_POSITION = 2403, /* A position is not below the count. */
    WB_ERR_TREE_SIBLING_COUNT = 2404, /* The number of sibling hashes is not the one that the positions give. */
    WB_ERR_TREE_MISMATCH = 2405, /* The entries do not lead to the signed root. */
    WB_ERR_TREE_TOO_MANY_ENTRIES = 2406, /* More than 4,096 entries in one proof. */
    WB_ERR_PROOF_TOO_LONG = 2501, /* The proof is longer than 41,943,040 bytes. */
    WB_ERR_PROOF_VERSION = 2502, /* The first line names a version that is not known. */
    WB_ERR_PROOF_LINE = 2503, /* A line is malformed, or out of its place. */
    WB_ERR_PROOF_FILE_NOT_SHOWN = 2504, /* A tensor's file is not among the proof's files. */
    WB_ERR_PROOF_NOT_ABSENT = 2505, /* A path is not shown to be absent. */
    WB_ERR_PROOF_OF_ANOTHER_HEAD = 2506, /* The proof is of another head than the one that is held. */
    WB_ERR_PROOF_LACKS_WANTED = 2507, /* The proof does not show what the caller wants. */
    WB_ERR_SLICE_RANGE = 2601, /* The range is empty, turned round, or past the end of the file. */
    WB_ERR_SLICE_LENGTH = 2602, /* The slice has another length than its range gives. */
    WB_ERR_SLICE_FILE_SIZE = 2603, /* The slice is of a file of another size. */
    WB_ERR_SLICE_MISMATCH = 2604, /* A part of the slice does not lead to the file's root. */
    WB_ERR_SLICE_FILE_NOT_SHOWN = 2605, /* The proof does not say of what the slice is. */
    WB_ERR_CHALLENGE_OF_ANOTHER_HEAD = 2701, /* The challenge is of another head. */
    WB_ERR_CHALLENGE_FOR_ANOTHER_PROVER = 2702, /* The challenge is for another prover. */
    WB_ERR_CHALLENGE_NO_BYTES = 2703, /* The model has no bytes to sample. */
    WB_ERR_RESPONSE_LATE = 2704, /* The response came after the deadline. */
    WB_ERR_RESPONSE_EARLY = 2705, /* The response came before the challenge was issued. */
    WB_ERR_CHALLENGE_REPLAYED = 2706, /* The challenge's nonce was answered before. */
    WB_ERR_RESPONSE_LENGTH = 2707, /* The response has another length than the samples give. */
    WB_ERR_RESPONSE_SIGNATURE = 2708, /* The prover's signature is not over this challenge and response. */
    WB_ERR_RESPONSE_MISMATCH = 2709, /* The samples of a file do not lead to its root. */
    WB_ERR_BAD_SIGNATURE = 3101, /* A signature by a known key does not verify. */
    WB_ERR_NO_KNOWN_KEY = 3102, /* No signature is by a known key. */
    WB_ERR_TOO_FEW_KEYS = 3103, /* Fewer distinct keys signed than the threshold demands. */
    WB_ERR_KEYS_REVOKED = 3104, /* The keys that signed and are missing from the threshold are revoked. */
    WB_ERR_KEYS_OUT_OF_DATE = 3105, /* The keys that signed and are missing from the threshold were out of date when the head was created. */
    WB_ERR_OUT_OF_SCOPE = 3106, /* No publisher's scope covers the model's name. */
    WB_ERR_ANOTHER_MODEL = 3201, /* The head is of another model than the one wanted. */
    WB_ERR_ANOTHER_HEAD = 3202, /* The head is another than the one wanted. */
    WB_ERR_OLD_REVISION = 3203, /* The revision is lower than the least one wanted. */
    WB_ERR_ROLLBACK = 3204, /* Rollback: the revision is lower than one accepted before. */
    WB_ERR_FORK = 3205, /* Fork: two heads claim the same place in the model's history. */
    WB_ERR_FROM_THE_FUTURE = 3206, /* The head was created more than a day in the future. */
    WB_ERR_EXPIRED = 3207, /* The head has expired. */
    WB_ERR_TIME_UNKNOWN = 3208, /* The head expires, and the time is not known. */
    WB_ERR_STATEMENT_NOT_SIGNED = 3301, /* A statement is not signed by the key that has to have signed it. */
    WB_ERR_STATEMENT_OF_ANOTHER_HEAD = 3302, /* A report or a receipt is of another head. */
    WB_ERR_TOO_FEW_REPORTS = 3303, /* Fewer reports count than the policy demands. */
    WB_ERR_NO_AUDITORS = 3304, /* The policy lists no auditors. */
    WB_ERR_STATEMENT_NONCE = 3305, /* A receipt does not answer the nonce that was sent. */
    WB_ERR_SAFETENSORS_TOO_SHORT = 4101, /* The file is too short to hold a header length. */
    WB_ERR_SAFETENSORS_HEADER_TOO_LONG = 4102, /* The header is longer than 100,000,000 bytes. */
    WB_ERR_SAFETENSORS_HEADER_PAST_END = 4103, /* The header is longer than the file. */
    WB_ERR_SAFETENSORS_HEADER_START = 4104, /* The header does not begin with `{`. */
    WB_ERR_SAFETENSORS_NOT_JSON = 4105, /* The header is not one JSON object with nothing but white space around it. */
    WB_ERR_SAFETENSORS_REPEATED_NAME = 4106, /* A name occurs twice. */
    WB_ERR_SAFETENSORS_ENTRY = 4107, /* An entry lacks a key, has an unknown or repeated one, or a value of another type. */
    WB_ERR_SAFETENSORS_UNKNOWN_DTYPE = 4108, /* A dtype is not known; not a refusal of the file, but why its tensors are not listed or compared. */
    WB_ERR_SAFETENSORS_OFFSETS = 4109, /* A begin offset is after its end offset, or past what a file can hold. */
    WB_ERR_SAFETENSORS_TENSOR_SIZE = 4110, /* A tensor's bytes are not what its dtype and shape need. */
    WB_ERR_SAFETENSORS_NOT_WHOLE_BYTES = 4111, /* A tensor of a sub-byte dtype does not fill whole bytes. */
    WB_ERR_SAFETENSORS_HOLE = 4112, /* Bytes that belong to no tensor lie between tensors. */
    WB_ERR_SAFETENSORS_OVERLAP = 4113, /* Two tensors overlap. */
    WB_ERR_SAFETENSORS_FILE_END = 4114, /* The file does not end where the last tensor ends. */
    WB_ERR_SAFETENSORS_TOO_MANY_DIMENSIONS = 4115, /* A shape has more than 16 dimensions. */
    WB_ERR_SAFETENSORS_METADATA = 4116, /* `__metadata__` is neither an object of strings nor `null`. */
    WB_ERR_LFS_POINTER = 4117, /* The file is a Git LFS pointer, not the model; when weighing, of a file of any format. */
    WB_ERR_INDEX_MALFORMED = 4201, /* The index is malformed. */
    WB_ERR_INDEX_NO_FILE = 4202, /* The index names a file that the model does not have. */
    WB_ERR_INDEX_NO_TENSOR = 4203, /* The index names a tensor that the named file does not hold. */
    WB_ERR_INDEX_REPEATED_TENSOR = 4204, /* The index names a tensor twice. */
    WB_ERR_GGUF_MAGIC = 4301, /* The file does not begin with `GGUF`. */
    WB_ERR_GGUF_VERSION = 4302, /* The version is neither 2 nor 3. */
    WB_ERR_GGUF_BIG_ENDIAN = 4303, /* The file is big-endian. */
    WB_ERR_GGUF_COUNTS = 4304, /* More than 1,048,576 tensors or key-values, or more than the file has room for. */
    WB_ERR_GGUF_HEADER_PAST_END = 4305, /* The header goes on after the file's end. */
    WB_ERR_GGUF_HEADER_TOO_LONG = 4306, /* The header is longer than 100,000,000 bytes. */
    WB_ERR_GGUF_KEY = 4307, /* A key is empty, longer than 65,535 bytes, or not UTF-8. */
    WB_ERR_GGUF_VALUE_TYPE = 4308, /* A type of values is not known. */
    WB_ERR_GGUF_NESTING = 4309, /* Arrays are nested deeper than 8 levels. */
    WB_ERR_GGUF_BOOL = 4310, /* A bool is neither 0 nor 1. */
    WB_ERR_GGUF_TENSOR_NAME = 4311, /* A tensor's name is not UTF-8. */
    WB_ERR_GGUF_DIMENSION = 4313, /* A dimension is 2^53 or more. */
    WB_ERR_GGUF_UNKNOWN_DTYPE = 4314, /* A dtype is not known; not a refusal of the file, but why its tensors are not listed or compared. */
    WB_ERR_GGUF_BLOCK = 4315, /* A first dimension is no multiple of its dtype's block. */
    WB_ERR_GGUF_REPEATED_KEY = 4316, /* A key occurs twice. */
    WB_ERR_GGUF_ALIGNMENT = 4317, /* `general.alignment` is no 32-bit power of two from 8 to 1,048,576. */
    WB_ERR_GGUF_SPLIT_KEYS = 4318, /* The keys of a split are incomplete, of another type, or contradict each other. */
    WB_ERR_GGUF_REPEATED_NAME = 4319, /* A tensor's name occurs twice. */
    WB_ERR_GGUF_OFFSET = 4320, /* A tensor's offset is no multiple of the alignment. */
    WB_ERR_GGUF_TENSOR_PAST_END = 4321, /* A tensor would end after the file. */
    WB_ERR_GGUF_HOLE = 4322, /* Bytes that belong to no tensor, and are no padding, lie between tensors. */
    WB_ERR_GGUF_OVERLAP = 4323, /* Two tensors overlap, or one lies in the padding of another. */
    WB_ERR_GGUF_FILE_END = 4324, /* The file ends neither with its last tensor nor with that one's padding. */
    WB_ERR_GGUF_TOO_MANY_DIMENSIONS = 4325, /* A tensor has more than 16 dimensions. */
    WB_ERR_SPLIT_PART_NAME = 4401, /* A part is not called as its header says. */
    WB_ERR_SPLIT_PART_MISSING = 4402, /* A part of the split is missing. */
    WB_ERR_SPLIT_CONTRADICTION = 4403, /* Two parts say different things about the split. */
    WB_ERR_SPLIT_REPEATED_TENSOR = 4404, /* Two parts have a tensor of the same name. */
    WB_ERR_SPLIT_TENSOR_COUNT = 4405, /* The parts have another number of tensors than they say. */
    WB_ERR_FOLDER_EMPTY = 5101, /* The model folder holds no file. */
    WB_ERR_LINK_OUT = 5102, /* A link leads out of the model. */
    WB_ERR_LINK_TO_FOLDER = 5103, /* A link leads to a folder. */
    WB_ERR_SPECIAL_FILE = 5104, /* Neither a file nor a folder: FIFO, socket or device. */
    WB_ERR_LINK_BROKEN = 5105, /* A link leads nowhere. */
    WB_ERR_DOWNLOAD_LEFTOVER = 5106, /* The leftover of a download that did not end, or the file that lies beside it. */
    WB_ERR_SYSTEM_FILE = 5107, /* A file that an operating system keeps for itself. */
    WB_ERR_REUSE_SIZE = 5301, /* A file to be reused has another size than the earlier entry. */
    WB_ERR_REUSE_NOTHING = 5302, /* Nothing to reuse: no file here is both asked for and in the earlier list. */
    WB_ERR_REUSE_CHUNK_SIZE = 5303, /* The earlier head has another chunk size. */
    WB_ERR_REUSE_LACKS_METADATA = 5304, /* The earlier metadata lacks what the new one needs: layer, tensors or SHA-256. */
    WB_ERR_PREVIOUS_OF_ANOTHER_MODEL = 5305, /* The earlier head, named as previous, is of another model. */
    WB_ERR_REUSE_INDEX = 5306, /* A reused index is not the earlier one. */
    WB_ERR_SIGNATURE_NOT_BY_KEY = 5401, /* A signature is not by this key over this head. */
    WB_ERR_SIGNATURE_LENGTH = 5402, /* A signature is not 64 bytes. */
    WB_ERR_KEY_FILE_MALFORMED = 5403, /* A key file is malformed. */
    WB_ERR_WRONG_PASSPHRASE = 5404, /* A passphrase is wrong. */
    WB_ERR_KEY_PAIR_MISMATCH = 5405, /* A secret key and the vkey beside it do not belong together. */
    WB_ERR_SOURCES_REFUSED = 5501, /* No source gives the signed bytes of what is missing: what came was refused. */
    WB_ERR_LISTED_MISMATCH = 5601, /* A file does not have the digest that its listing says. */
    WB_ERR_LISTED_LENGTH = 5602, /* A file has another length than its listing says. */
    WB_ERR_SHA1_COLLISION = 5603, /* A file whose listing says the id of its Git blob is made for a collision of SHA-1. */
    WB_ERR_LISTING_CHANGED = 5604, /* The listing changed while the model was imported. */
    WB_ERR_USAGE = 9001, /* Usage. */
    WB_ERR_IO = 9002, /* The operating system reported an error; the message names the file and what was being done. */
    WB_ERR_NO_TRUST = 9003, /* No trust was given. */
    WB_ERR_STATE_FILE_MALFORMED = 9004, /* The state file is malformed. */
    WB_ERR_PASSPHRASE_NEEDED = 9005, /* A passphrase is needed, and none was given that can be one. */
    WB_ERR_USER_POLICY_EXPOSED = 9006, /* Somebody else could change the user's policy. */
    WB_ERR_USER_POLICY_LOSS = 9007, /* The change would lose part of the user's policy: a stricter entry, unless `--replace` is given, or what was written into it by hand. */
    WB_ERR_METADATA_EXISTS = 9101, /* Metadata exists already; `--force` replaces it. */
    WB_ERR_FOLDER_BUSY = 9102, /* Another run is writing metadata in this place. */
    WB_ERR_KEY_EXISTS = 9103, /* A key exists already and is never overwritten. */
    WB_ERR_METADATA_FOLDER_IS_LINK = 9104, /* The folder for metadata is a symbolic link. */
    WB_ERR_FOREIGN_AMONG_METADATA = 9105, /* Something that is not weighbridge's lies among the new files of metadata. */
    WB_ERR_LAYER_NEEDED = 9106, /* The chunk layer is needed, and is not there. */
    WB_ERR_INCOMPLETE = 9107, /* Chunks are missing: the file, or the model, is not complete. */
    WB_ERR_BEING_REPLACED = 9108, /* The release in the folder is being replaced by another, or was when a process was killed. */
    WB_ERR_NO_SOURCE = 9201, /* No source can deliver what is missing. */
    WB_ERR_FETCH_STOPPED = 9202, /* A fetch was stopped. */
    WB_ERR_MODEL_OVERWRITTEN = 9203, /* The model was overwritten while it was fetched: every source that is left has a later revision. */
    WB_ERR_IN_THE_WAY = 9204, /* Something else lies where a fetched file, or a folder for it, has to be. */
    WB_ERR_FOLDER_HAS_ANOTHER_MODEL = 9205, /* The folder to fetch into has a model of another name; `--replace` replaces it. */
    WB_ERR_NOT_PRUNED = 9206, /* `--prune` would remove files that may be anybody's: the folder never had this model, or a source lies in it. */
    WB_ERR_HUB_SNAPSHOT = 9207, /* The folder to fetch into is a snapshot of a Hugging Face cache, in which only the hub's clients change files. */
    WB_ERR_NO_LISTING = 9208, /* The files of a hub, or of a folder with `SHA256SUMS`, cannot be listed. */
    WB_ERR_LISTING_MALFORMED = 9209, /* A listing is malformed. */
    WB_ERR_NO_PLACE_IN_CACHE = 9210, /* A model of this name has no place of its own in a Hugging Face cache. */
    WB_ERR_FOREIGN_REVISION = 9211, /* `refs/main` in a Hugging Face cache names a revision that weighbridge did not put there; `--replace` replaces it. */
    WB_ERR_PUSH_REFUSED = 9301, /* The receiver of a push refuses it. */
    WB_ERR_NO_RECEIVER = 9302, /* The receiver of a push does not answer, or cannot take the model now. */
    WB_ERR_PUSH_STOPPED = 9303, /* A push was stopped. */
    WB_ERR_SWARM_NOT_JOINED = 9401, /* A swarm cannot be joined: its ticket has expired, is for another release, or does not list this member. */
    WB_ERR_TICKET_NOT_GIVEN = 9402, /* The ticket of a swarm cannot be had from its address. */
    WB_ERR_NO_NODE = 9501, /* No node that answers runs with this cache. */
    WB_ERR_NODE_REFUSED = 9502, /* A node does not do what it is told: the model is in use, pinned, being fetched, or not known. */
    WB_ERR_BUG = 9999, /* A fault of weighbridge; please report it. */
};

// The error is about no chunk (`wb_error`).
#define WB_NO_CHUNK UINT64_MAX

// The number of bytes of a message, with the NUL at its end.
#define WB_MESSAGE_LEN 1024

// The number of bytes of an id as text: 64 hexadecimal digits, and the NUL behind them.
#define WB_ID_LEN 65

// The place of a layer is not known (`wb_file`).
#define WB_NO_LAYER UINT64_MAX

// The files of a model, as the head binds them. It never changes.
typedef struct wb_files wb_files;

// A head that a policy believes: what a publisher signed of one release of a model. It never changes.
typedef struct wb_head wb_head;

#if defined(WB_HOSTED)
// A model folder whose head is believed. All functions but `wb_model_free` may be called from any number of threads at once.
typedef struct wb_model wb_model;
#endif

// Whom a caller trusts. It never changes.
typedef struct wb_policy wb_policy;

// What a proof shows, under a head that is believed. Whoever made it chose what it shows: ask for what is wanted. It
// never changes.
typedef struct wb_proof wb_proof;

// The tensors of a model, as the head binds them. It never changes.
typedef struct wb_tensors wb_tensors;

// Knows which chunks of the wanted files were accepted. All functions but `wb_verifier_free` may be called from any number of
// threads at once, also with the same chunk. What was accepted stays accepted.
typedef struct wb_verifier wb_verifier;

// The result of a call: `WB_OK`, or a number of the table in `spec/error-codes.md`, which never changes its meaning.
// `wb_is_refusal` tells whether bytes were read and found bad; the size of the number does not.
typedef int wb_code;

// The place and the text of a failure. The caller has the memory; a call that succeeds does not write to it.
typedef struct {
  // The code that the call returns.
  wb_code code;
  // The chunk that is bad, counted from 0 in its file; `WB_NO_CHUNK` if the error is about no single chunk.
  uint64_t chunk;
  // The first byte of the chunk in its file. 0 without a chunk.
  uint64_t start;
  // The byte behind the chunk. 0 without a chunk.
  uint64_t end;
  // One line for people, in English: UTF-8, with NUL at its end. Control characters of foreign names are escaped. What is longer
  // is cut.
  char message[WB_MESSAGE_LEN];
} wb_error;

// Which model a caller means. Begin with zeros: `wb_expected expected = {0};`
typedef struct {
  // The name of the model, `ORG/MODEL`; null if only `head` says which.
  const char *name;
  // The id of the one head that is taken, 64 hexadecimal digits in lower case; null for any.
  const char *head;
  // Whether any model of the policy is taken. Otherwise `name` or `head` is needed, since a mirror may serve another model of the
  // same publisher. Who sets this looks at `wb_head_name`.
  bool any_model;
  // Whether a head is taken that has expired.
  bool allow_expired;
  // The least revision that is taken. Nodes that remember what they accepted are not led back to an older release.
  uint64_t min_revision;
  // The time, in seconds since 1970 (UTC); 0 if there is no clock. A head that expires is then refused.
  int64_t now;
} wb_expected;

// Text in memory of a handle: UTF-8, without a NUL at its end. It is valid as long as the handle.
typedef struct {
  // The first byte. It is not null, even if there are no bytes.
  const char *data;
  // The number of bytes.
  size_t len;
} wb_text;

// A file of a model.
typedef struct {
  // The path in the model, its parts separated by `/`.
  wb_text path;
  // The position in the file list, counted from 0.
  size_t position;
  // The number of bytes.
  uint64_t size;
  // The number of chunks.
  uint64_t chunks;
  // Where the file's layer begins in `chunks.layer`; `WB_NO_LAYER` in a proof, which does not have the other files.
  uint64_t layer_offset;
  // The number of bytes of the layer: 32 for each chunk, none for a file of one chunk or none.
  uint64_t layer_len;
  // The BLAKE3 hash of the file.
  uint8_t root[32];
} wb_file;

// A tensor of a model.
typedef struct {
  // The name, unique in its file.
  wb_text name;
  // The path of the file in the model.
  wb_text file;
  // The position of the file in the file list.
  size_t file_position;
  // The position in the tensor list, counted from 0.
  size_t position;
  // The type of the elements, as the format of the file spells it.
  wb_text dtype;
  // The dimensions, outermost first; `rank` of them, none for a scalar.
  const uint64_t *shape;
  // The number of dimensions.
  size_t rank;
  // Where the tensor begins in its file, in bytes.
  uint64_t offset;
  // The number of bytes, without padding.
  uint64_t size;
} wb_tensor;

// The range of a slice.
typedef struct {
  // The position of the file in the file list.
  size_t file_position;
  // The first byte in the file.
  uint64_t start;
  // The byte behind the last one.
  uint64_t end;
  // The number of bytes of the slice, with the hashes in it.
  uint64_t encoded_len;
} wb_slice;

// Says whether a nonce of 32 bytes was answered before. It must not leave by an exception or by longjmp.
typedef bool (*wb_answered)(void *context, const uint8_t *nonce);

// The result of an answer that is accepted.
typedef struct {
  // The number of BLAKE3 chunks (1 KiB) that the prover showed.
  uint64_t samples;
  // The number of BLAKE3 chunks of the model, of which they were drawn.
  uint64_t of;
  // The nonce of the challenge, which is answered now: `wb_answered` returns true for it from now on.
  uint8_t nonce[32];
} wb_answer;

// A text of some length, in memory of the caller.
typedef struct {
  // The first byte.
  const uint8_t *data;
  // The number of bytes.
  size_t len;
} wb_bytes;

// Neighbouring chunks.
typedef struct {
  // The first chunk, counted from 0.
  uint64_t first;
  // The chunk behind the last one.
  uint64_t end;
} wb_run;

// The call did what it was asked to do.
#define WB_OK 0

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Tells whether a code means that bytes were read and found bad. Of other codes but `WB_OK`, nothing was decided: the same call may
// succeed later.
bool wb_is_refusal(wb_code code);

// The version of the library, such as "0.1.0". It is valid for ever.
const char *wb_version(void);

// Trusts any one of some public keys, for every model. `vkeys` has a line `NAME+ID+KEY` for each, as files of vkeys have.
//
// Errors: a line is no vkey (15xx), or there is none (1605).
wb_code wb_policy_of_vkeys(const uint8_t *vkeys,
                           size_t vkeys_len,
                           wb_policy **policy,
                           wb_error *error);

// Trusts one head by its id, whoever signed it: 64 hexadecimal digits in lower case, from where the caller trusts.
//
// Errors: it is no id (9001).
wb_code wb_policy_of_head(const char *head,
                          wb_policy **policy,
                          wb_error *error);

#if defined(WB_HOSTED)
// Reads a policy file: publishers with scopes, thresholds and dates, revoked keys, auditors (`spec/trust.md`).
//
// Errors: the policy is malformed, or trusts nobody (16xx).
wb_code wb_policy_of_toml(const uint8_t *toml,
                          size_t toml_len,
                          wb_policy **policy,
                          wb_error *error);
#endif

// Frees a policy. Null is taken.
void wb_policy_free(wb_policy *policy);

// Decides whether the bytes of `head.note` are believed, and are the head of the model that is meant.
//
// Errors: the note is malformed (11xx), the head is (12xx), is not believed, or not the one that is meant (31xx, 32xx).
wb_code wb_head_verify(const uint8_t *note,
                       size_t note_len,
                       const wb_policy *policy,
                       const wb_expected *expected,
                       wb_head **head,
                       wb_error *error);

// The name of the model, `ORG/MODEL`.
wb_text wb_head_name(const wb_head *head);

// The revision of the model, counted from 1.
uint64_t wb_head_revision(const wb_head *head);

// Writes the id of the head into `WB_ID_LEN` bytes of the caller: 64 hexadecimal digits, and NUL. Nothing is written if
// a pointer is null.
void wb_head_id(const wb_head *head,
                char *id);

// The text of the head, exactly as it was signed (`spec/head.md`).
wb_text wb_head_text(const wb_head *head);

// The size of a chunk in bytes: 16 KiB to 16 MiB, a power of two. The last chunk of a file may be shorter.
uint64_t wb_head_chunk_size(const wb_head *head);

// The number of bytes of all files.
uint64_t wb_head_bytes(const wb_head *head);

// The number of signers that the policy counts; 0 for a head that is trusted by its id.
size_t wb_head_signers(const wb_head *head);

// The name of a signer's key, counted from 0; empty if there is none.
wb_text wb_head_signer(const wb_head *head, size_t signer);

// Whether the head is an importer's: the signers say where the model came from, not that they made it.
bool wb_head_is_imported(const wb_head *head);

// Frees a head. Null is taken.
void wb_head_free(wb_head *head);

// Decides whether the bytes of `files.jsonl` are the file list that a head binds.
//
// Errors: they are not, or a path is malformed (13xx, 14xx). Cost: one pass; memory for the entries.
wb_code wb_files_verify(const wb_head *head,
                        const uint8_t *list,
                        size_t list_len,
                        wb_files **files,
                        wb_error *error);

// The number of files.
size_t wb_files_count(const wb_files *files);

// Gives the file at a position, counted from 0, in the order of their paths. Returns whether there is one.
bool wb_files_get(const wb_files *files, size_t position, wb_file *file);

// Finds a file by its path in the model. Returns whether there is one.
bool wb_files_find(const wb_files *files, const char *path, wb_file *file);

// Frees a file list. Null is taken.
void wb_files_free(wb_files *files);

// Decides whether the bytes of `tensors.jsonl` are the tensor list that the head binds of which these are the files.
//
// Errors: they are not, a name is malformed, or the head lists no tensors (13xx, 14xx). Cost: one pass; memory for the entries.
wb_code wb_tensors_verify(const wb_files *files,
                          const uint8_t *list,
                          size_t list_len,
                          wb_tensors **tensors,
                          wb_error *error);

// The number of tensors.
size_t wb_tensors_count(const wb_tensors *tensors);

// Gives the tensor at a position, counted from 0, in the order of files, and of names in each. Returns whether there is one.
bool wb_tensors_get(const wb_tensors *tensors,
                    size_t position,
                    wb_tensor *tensor);

// Finds a tensor by its name and the path of its file in the model. Returns whether there is one.
bool wb_tensors_find(const wb_tensors *tensors, const char *file, const char *name, wb_tensor *tensor);

// Frees a tensor list. Null is taken.
void wb_tensors_free(wb_tensors *tensors);

// Decides whether a proof is believed, and shows what it claims.
//
// Errors: its head is refused (11xx, 12xx, 31xx, 32xx), or its form or what it claims is wrong (13xx, 14xx, 24xx, 25xx,
// 26xx).
// Cost: that of a signature, and a hash for each line.
wb_code wb_proof_verify(const uint8_t *text,
                        size_t text_len,
                        const wb_policy *policy,
                        const wb_expected *expected,
                        wb_proof **proof,
                        wb_error *error);

// Decides whether a proof shows what it claims under a head that was believed before; its signatures are not checked again.
//
// Errors: its note is malformed (11xx), it has another head (2506), or its form or what it claims is wrong (13xx, 14xx,
// 24xx, 25xx, 26xx).
wb_code wb_proof_verify_under(const uint8_t *text,
                              size_t text_len,
                              const wb_head *head,
                              wb_proof **proof,
                              wb_error *error);

// The head of the proof. It belongs to the proof, and is not freed; null without a proof.
const wb_head *wb_proof_head(const wb_proof *proof);

// The number of files that the proof shows.
size_t wb_proof_files(const wb_proof *proof);

// Gives a file that the proof shows, counted from 0. Returns whether there is one.
bool wb_proof_file(const wb_proof *proof, size_t nth, wb_file *file);

// Finds a file by its path. Returns whether the proof shows that the model has it; if not, the model may have it or not.
bool wb_proof_find_file(const wb_proof *proof,
                        const char *path,
                        wb_file *file);

// The number of tensors that the proof shows.
size_t wb_proof_tensors(const wb_proof *proof);

// Gives a tensor that the proof shows, counted from 0. Returns whether there is one.
bool wb_proof_tensor(const wb_proof *proof, size_t nth, wb_tensor *tensor);

// Finds a tensor by its name and the path of its file. Returns whether the proof shows that the model has it; if not,
// the model may have it or not.
bool wb_proof_find_tensor(const wb_proof *proof,
                          const char *file,
                          const char *name,
                          wb_tensor *tensor);

// Whether the proof shows that the model does not have this path. If not, the model may have it or not.
bool wb_proof_is_absent(const wb_proof *proof, const char *path);

// Gives the range of the slice that goes with the proof. Returns whether one does.
bool wb_proof_slice(const wb_proof *proof, wb_slice *slice);

// Decides whether a slice carries the bytes of the range that the proof names, and writes these bytes into `into`, which
// has room for exactly `end - start` of them.
//
// Errors: the slice is refused (26xx), the proof names no slice, or `into` has another length (9001). What is in `into`
// is then not to be used. Cost: one BLAKE3 pass; no memory.
wb_code wb_proof_check_slice(const wb_proof *proof,
                             const uint8_t *slice,
                             size_t slice_len,
                             uint8_t *into,
                             size_t into_len,
                             wb_error *error);

// Decides whether a slice carries the bytes from `start` to before `end` of a file, counted from 0, and writes these
// bytes into `into`, which has room for exactly `end - start` of them.
//
// Errors: the range or the slice is refused (26xx), the list has no such file, or `into` has another length (9001). What
// is in `into` is then not to be used. Cost: one BLAKE3 pass; no memory.
wb_code wb_files_check_slice(const wb_files *files,
                             size_t position,
                             uint64_t start,
                             uint64_t end,
                             const uint8_t *slice,
                             size_t slice_len,
                             uint8_t *into,
                             size_t into_len,
                             wb_error *error);

// Frees a proof, with its head. Null is taken.
void wb_proof_free(wb_proof *proof);

// Decides whether a response answers the auditor's own challenge: `auditor` is the vkey that signed it, `received` the
// time at which the last byte of the response came. `answered` is called at most once, with `context`; the caller holds
// one lock from before the call until it keeps the nonce of an accepted answer, so that no response counts twice.
// `answer` may be null.
//
// Errors: the challenge is malformed or not the auditor's (11xx, 18xx, 3101, 33xx), the vkey is malformed (15xx), or the
// response does not answer it, or not in time (27xx).
wb_code wb_audit_check(const wb_files *files,
                       const uint8_t *challenge,
                       size_t challenge_len,
                       const char *auditor,
                       const uint8_t *response,
                       size_t response_len,
                       int64_t received,
                       wb_answered answered,
                       void *context,
                       wb_answer *answer,
                       wb_error *error);

// Decides whether a model is held: whether enough auditors of the policy have signed, in these reports and in the last `max_age`
// seconds, that nodes could produce random parts of it. `counted` is the number of reports that count, and may be null.
//
// Errors: too few reports count, one is of another head, the policy has no auditors (33xx), or a report is malformed or
// has a bad signature (11xx, 15xx, 18xx, 3101).
wb_code wb_head_held(const wb_head *head,
                     const wb_policy *policy,
                     const wb_bytes *reports,
                     size_t reports_count,
                     int64_t now,
                     uint64_t max_age,
                     size_t *counted,
                     wb_error *error);

// Begins to verify all files of a list.
//
// Errors: the list has an empty file whose root is not that of no bytes (2101). Cost: a slot for each file of the list.
wb_code wb_verifier_of_all(const wb_files *files,
                           wb_verifier **verifier,
                           wb_error *error);

// Begins to verify those files of a list that are at the `wanted_count` positions in `wanted`; none if that is 0.
//
// Errors: the list has no such file (9001), and those of `wb_verifier_of_all`. Cost: a slot for each file of the list.
wb_code wb_verifier_of_files(const wb_files *files,
                             const size_t *wanted,
                             size_t wanted_count,
                             wb_verifier **verifier,
                             wb_error *error);

// Begins to verify the one file that a proof shows at this position of the list, by its layer. No list is needed.
//
// Errors: the proof shows no such file (9001), or the layer is refused (2101, 22xx).
wb_code wb_verifier_of_proof(const wb_proof *proof,
                             size_t file,
                             const uint8_t *layer,
                             size_t layer_len,
                             wb_verifier **verifier,
                             wb_error *error);

// Accepts the layer of a file, the part of `chunks.layer` that `wb_file` names. Files of more than one chunk need theirs before
// their first chunk is accepted. A layer that was accepted before is taken again.
//
// Errors: the layer is refused (22xx), or the file is not wanted (9001).
wb_code wb_verifier_accept_layer(const wb_verifier *verifier,
                                 size_t file,
                                 const uint8_t *layer,
                                 size_t layer_len,
                                 wb_error *error);

// Accepts a chunk, counted from 0 in its file, if `chunk` has the bytes that were signed for it. They may be used from
// this memory; what is read again from elsewhere is not verified.
//
// Errors: the bytes are refused (2102), there are too many or too few (2107), the file has no such chunk (2108), its
// layer was not accepted (9106), it is not wanted (9001). The chunk can be offered again.
// Cost: one BLAKE3 pass on the calling thread, and no lock. Memory only for what is said of a refusal, and once for a file
// of one chunk.
wb_code wb_verifier_accept(const wb_verifier *verifier,
                           size_t file,
                           uint64_t index,
                           const uint8_t *chunk,
                           size_t chunk_len,
                           wb_error *error);

// Gives the first run of chunks of a file that were not accepted, from the chunk `first` on. If there is none, the run
// ends where it begins, at `first`. To see all of them, go on behind the end of each.
//
// Errors: the file is not wanted (9001).
wb_code wb_verifier_missing(const wb_verifier *verifier,
                            size_t file,
                            uint64_t first,
                            wb_run *run,
                            wb_error *error);

// Whether all chunks were accepted that hold the bytes from `start` to before `end` of a file, such as those of a
// tensor. False for bytes that the file does not have.
bool wb_verifier_has(const wb_verifier *verifier,
                     size_t file,
                     uint64_t start,
                     uint64_t end);

// The number of accepted bytes of all wanted files, each counted once. It never falls.
uint64_t wb_verifier_accepted_bytes(const wb_verifier *verifier);

// The number of bytes of all wanted files.
uint64_t wb_verifier_wanted_bytes(const wb_verifier *verifier);

// Whether all chunks of all wanted files were accepted. False without a verifier.
bool wb_verifier_is_complete(const wb_verifier *verifier);

#if (defined(WB_HOSTED) && defined(WB_UNIX))
// Looks which chunks of a file an open descriptor has: reads `count` of them from the chunk `first` on, at their places
// and by no shared position, and accepts each that is as signed. The calling thread does this; more threads may take
// other chunks of the file. `UINT64_MAX` stands for all that follow. The descriptor stays the caller's.
//
// This says what the file had when it was read. The bytes are not kept, and what is read again is not verified;
// `wb_model_read` gives verified bytes.
//
// Errors: that of the first chunk that is refused or not there, after the others were looked at (2102, 2107); the file is
// longer than the signed one, if its last chunk was asked for (2103); it cannot be read (9002); and those of
// `wb_verifier_accept`. Cost: memory for one chunk.
wb_code wb_verifier_accept_descriptor(const wb_verifier *verifier,
                                      size_t file,
                                      int descriptor,
                                      uint64_t first,
                                      uint64_t count,
                                      wb_error *error);
#endif

// Frees a verifier, which no other thread uses any more. Null is taken.
void wb_verifier_free(wb_verifier *verifier);

#if defined(WB_HOSTED)
// Opens a model folder: its head has to be believed, its lists have to be those that the head binds. No weight is read.
// `meta` is the folder of the metadata; if it is null, they lie in `weighbridge` in the model folder, or at the place of
// a snapshot in a Hugging Face cache. Paths are UTF-8; relative ones are those of the working directory at this call.
//
// Files in the folder that are not listed are not looked at, and not refused: read what is listed, and nothing else.
//
// While the model is open, this process is known as a reader of its release: it holds a lease in the folder's
// `weighbridge`, so that whoever replaces the release keeps its files. Who frees the last reader of a replaced release
// removes these (spec/model-folder.md). A folder that cannot be written is read without.
//
// Errors: those of `wb_head_verify`, `wb_files_verify` and `wb_tensors_verify`; the layers have a wrong length (2201); a
// release in the folder is being replaced (9108); something cannot be read (9002).
wb_code wb_model_open(const char *folder,
                      const char *meta,
                      const wb_policy *policy,
                      const wb_expected *expected,
                      wb_model **model,
                      wb_error *error);
#endif

#if defined(WB_HOSTED)
// The head. It belongs to the model, and is not freed.
const wb_head *wb_model_head(const wb_model *model);
#endif

#if defined(WB_HOSTED)
// The file list. It belongs to the model, and is not freed.
const wb_files *wb_model_files(const wb_model *model);
#endif

#if defined(WB_HOSTED)
// The tensor list; null if the head lists no tensors. It belongs to the model, and is not freed.
const wb_tensors *wb_model_tensors(const wb_model *model);
#endif

#if defined(WB_HOSTED)
// Fills `into` with the bytes of a file from `offset` on. Only chunks that hold them are read and hashed. A whole chunk
// may be read into `into` and verified there; of others, verified bytes are copied. `into` need not be initialised. Until
// the call has succeeded, what is in it is not to be used.
//
// Errors: a chunk is not as signed (2102); the file is missing (2104), has another length (2103), has changed since it
// was opened (2106), or leads out of the model (51xx); its layer is missing (9106) or refused (2202); it cannot be read
// (9002); it has no such bytes (9001). Cost: one BLAKE3 pass over the chunks, on the calling thread. A buffer of one chunk
// for each thread that reads, and some more in reserve; chunks of which a part was read are kept, at most 64 and 16 MiB.
wb_code wb_model_read(const wb_model *model,
                      size_t file,
                      uint64_t offset,
                      uint8_t *into,
                      size_t into_len,
                      wb_error *error);
#endif

#if defined(WB_HOSTED)
// Fills `into` with the bytes of a tensor from `offset` in the tensor on, wherever the model is split. Before the first
// bytes of a file are given, its header is verified and compared with all that is listed for the file.
//
// Errors: those of `wb_model_read`; the header is malformed (41xx, 43xx) or differs from the list (23xx); the list has
// no such tensor (9001).
wb_code wb_model_read_tensor(const wb_model *model,
                             size_t tensor,
                             uint64_t offset,
                             uint8_t *into,
                             size_t into_len,
                             wb_error *error);
#endif

#if defined(WB_HOSTED)
// Reads a whole file, and verifies each chunk of it. To use more threads, give each another file, or `wb_model_read`
// other parts.
//
// Errors: those of `wb_model_read`, for the first bad chunk.
wb_code wb_model_verify_file(const wb_model *model,
                             size_t file,
                             wb_error *error);
#endif

#if defined(WB_HOSTED)
// The number of chunks, and of their bytes, that were read from all files so far. Either place may be null.
void wb_model_reads(const wb_model *model, uint64_t *chunks, uint64_t *read);
#endif

#if defined(WB_HOSTED)
// Frees a model with its head and its lists, which no other thread uses any more. Null is taken.
void wb_model_free(wb_model *model);
#endif

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* WEIGHBRIDGE_H */
