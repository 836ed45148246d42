//! The header of the C library, made from its sources and from the table of codes.

use std::fmt::Write as _;
use std::fs;

use cbindgen::{Builder, Config};

use crate::codes;
use crate::process::{read, root};
use crate::{Result, capi};

const HEADER: &str = "include/weighbridge.h";

/// Writes the header anew.
pub(crate) fn write() -> Result {
    Ok(fs::write(root().join(capi::SOURCE).join(HEADER), make()?)?)
}

/// Refuses a header that is not that of the sources.
pub(crate) fn check() -> Result {
    let path = root().join(capi::SOURCE).join(HEADER);
    if read(&path)? == make()? {
        return Ok(());
    }
    Err(format!("{}/{HEADER} is not that of the sources: run `cargo xtask header`", capi::SOURCE).into())
}

fn make() -> Result<String> {
    let source = root().join(capi::SOURCE);
    let mut config = Config::from_file(source.join("cbindgen.toml"))?;
    config.after_includes = Some(format!("\n{CONDITIONS}\n{}", enumerators()?));
    let bindings = Builder::new().with_crate(source).with_config(config).generate()?;
    let mut header = Vec::new();
    bindings.write(&mut header);
    Ok(String::from_utf8(header)?)
}

/// What `cfg` of the sources is in C.
const CONDITIONS: &str = "\
#ifndef WB_FREESTANDING
#define WB_HOSTED
#endif
#if defined(__unix__) || defined(__APPLE__)
#define WB_UNIX
#endif
";

/// The codes as an enumeration.
fn enumerators() -> Result<String> {
    let mut text = String::from("/* The codes of spec/error-codes.md. */\nenum {\n");
    for code in codes::all()? {
        writeln!(text, "    WB_ERR_{} = {}, /* {} */", code.name, code.code, code.meaning)?;
    }
    text += "};";
    Ok(text)
}
