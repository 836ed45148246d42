//! A node that holds one kilobyte of a model, and checks what that kilobyte proves: offline, without lists or weights.
//!
//! `cargo run -p weighbridge-verify --example light_node [PROOF VKEY]`

use std::{error::Error, fs};

use weighbridge_verify::manifest::{Expectation, ModelName, SignedProof, TrustPolicy, Vkey, shown};

/// A peer's proof that a tensor is in a model, and a pickle is not.
const PROOF: &[u8] = include_bytes!("../../../spec/examples/scale.proof");
/// The key that this node believes. It came with the node, never with the proof (rule 9).
const PUBLISHER: &str = include_str!("../../../spec/examples/vkey");

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let proof = arguments.next().map_or(Ok(PROOF.to_vec()), fs::read)?;
    let publisher = arguments.next().unwrap_or(PUBLISHER.to_owned());

    let policy = TrustPolicy::any_of(vec![Vkey::parse(publisher.trim_end())?])?;
    let wanted = Expectation::any().named(ModelName::parse("example/tiny")?);
    // A node with a clock passes the time. This node has no clock, and would refuse a head that can expire.
    let proven = SignedProof::parse(&proof)?.verify(&policy, &wanted, None)?;

    let head = proven.head();
    println!("{} revision {}, head {}", head.head().name, head.head().revision, head.id());
    for (position, file) in proven.files() {
        println!("file {position}: {}, {} bytes, {}", shown(file.path.as_str()), file.size, file.root);
    }
    for (position, tensor) in proven.tensors() {
        println!(
            "tensor {position}: {} at {} of {}",
            shown(tensor.name.as_str()),
            tensor.offset,
            shown(tensor.file.as_str())
        );
    }
    for path in proven.absent() {
        println!("absent: {}", shown(path.as_str()));
    }

    // A forged proof proves nothing, and the error says where it is wrong.
    let mut forged = proof;
    let middle = forged.len() / 4;
    forged[middle] ^= 1;
    let refusal = SignedProof::parse(&forged).and_then(|proof| proof.verify(&policy, &wanted, None));
    println!("forged: {}", refusal.err().ok_or("a forged proof was accepted")?);
    Ok(())
}
