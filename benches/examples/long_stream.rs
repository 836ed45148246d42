//! Verifies a stream that is generated as it is read and never stored, so that the memory of verifying can be
//! observed.
//!
//! `cargo run --release -p weighbridge-benches --example long_stream [BYTES]`
//!
//! The first pass is that of the publisher, and makes root and layer. The second pass is that of a node, and reads
//! the stream from an untrusted reader. Without an argument the stream has 16 GiB.

use std::{error::Error, io::BufRead, time::Instant};

use weighbridge_benches::{Generated, OneFile};
use weighbridge_tree::ChunkSize;
use weighbridge_verify::VerifyingReader;

fn main() -> Result<(), Box<dyn Error>> {
    let len = std::env::args().nth(1).map_or(Ok(16 << 30), |text| text.parse())?;
    let chunk_size = ChunkSize::default_for([len]);
    if len <= chunk_size.bytes() {
        return Err(format!("takes more than one chunk of {chunk_size} bytes").into());
    }

    let started = Instant::now();
    let file = OneFile::of(Generated::new(len), len, chunk_size);
    tell("made root and layer of", len, started);

    let started = Instant::now();
    let verifier = file.verifier();
    let mut reader = VerifyingReader::new(&verifier, Generated::new(len));
    let mut released = 0;
    loop {
        let accepted = reader.fill_buf()?.len();
        if accepted == 0 {
            break;
        }
        released += u64::try_from(accepted)?;
        reader.consume(accepted);
    }
    let chunks = verifier.count();
    let root = verifier.finish()?.root();
    tell("verified and released", released, started);
    println!("{chunks} chunks of {chunk_size} bytes, root {root}");
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "a rate is shown with two digits")]
fn tell(what: &str, bytes: u64, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    println!("{what} {bytes} bytes in {seconds:.2} s, {:.2} GB/s", bytes as f64 / seconds / 1e9);
}
