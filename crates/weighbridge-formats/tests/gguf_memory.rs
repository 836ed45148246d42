//! The memory cost of headers with false claims. This test has its own process, because it measures the process's
//! memory.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;

use weighbridge_formats::{
    Format,
    generate_gguf::{Gguf, Variant},
    parse,
};

/// The largest address space of this process so far, which includes memory that was reserved but never touched.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn a_header_costs_memory_by_its_length_and_not_by_what_it_claims() {
    let folder = tempfile::tempdir().unwrap();
    let written = Gguf { variant: Variant::Every, ..Gguf::small(1) }.write(folder.path()).unwrap();
    let whole = fs::read(folder.path().join(&written.files[0])).unwrap();
    let header = &whole[..whole.len().min(40_000)];
    // Make one-time allocations before the measurement.
    let _ = parse(Format::Gguf, header, u64::MAX);
    let before = peak();
    for at in 8..header.len() - 8 {
        // The largest allowed count, a count that fits the file's length, and counts that no file can have.
        for claim in [1 << 20, 1 << 24, 1 << 40, 1 << 62, u64::MAX] {
            let mut changed = header.to_vec();
            changed[at..at + 8].copy_from_slice(&u64::to_le_bytes(claim));
            for size in [whole.len() as u64, 1 << 53, u64::MAX] {
                let _ = parse(Format::Gguf, &changed, size);
            }
        }
    }
    let more = peak() - before;
    // Room for a million entries would take ten times as much.
    assert!(more < 8 << 20, "{more} bytes");
}
