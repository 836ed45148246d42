//! The `weighbridge` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    weighbridge_cli::main()
}
