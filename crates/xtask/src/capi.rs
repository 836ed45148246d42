//! The C library: built and installed as C programs link it, and held against its header by programs in C and C++.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use weighbridge_formats::generate::Llama;

use crate::gate::Outcome;
use crate::process::{built, cargo, command, output, read, root, run as run_command, target};
use crate::{Result, header, real_model};

pub(crate) const SOURCE: &str = "crates/weighbridge-capi";
/// Programs that were linked with one number do not run with a library of another: it is raised when what is in `tests/abi.txt`
/// changes or goes.
const ABI: &str = "0";

/// Installs a release build, with the arguments `--prefix DIR`.
pub(crate) fn run(arguments: &[String]) -> Result {
    let [flag, prefix] = arguments else { return Err("takes --prefix DIR".into()) };
    if flag != "--prefix" {
        return Err(format!("takes --prefix DIR, found '{flag}'").into());
    }
    install(&["--release", "--locked"], "release", &std::path::absolute(prefix)?)?;
    println!("installed under {prefix}: include, lib, lib/pkgconfig");
    Ok(())
}

/// Builds the libraries, and installs them with header and pkg-config file.
fn install(flags: &[&str], profile: &str, prefix: &Path) -> Result {
    let (name, real, link) = names();
    // The package alone: with the features that others need, hashing would use threads of its own.
    let mut build = cargo("rustc --package weighbridge-capi --lib --crate-type staticlib,cdylib");
    run_command(build.args(flags).args(["--", "-C", &format!("link-arg=-Wl,{link}")]))?;
    let (folder, lib) = (target()?.join(profile), prefix.join("lib"));
    let header = root().join(SOURCE).join("include/weighbridge.h");
    for place in ["include", "lib/pkgconfig"] {
        fs::create_dir_all(prefix.join(place))?;
    }
    fs::copy(header, prefix.join("include/weighbridge.h"))?;
    fs::copy(folder.join("libweighbridge_capi.a"), lib.join("libweighbridge.a"))?;
    let suffix = if cfg!(target_os = "macos") { "dylib" } else { "so" };
    // Running programs keep the file that they have.
    let unnamed = lib.join(".weighbridge.new");
    fs::copy(folder.join(format!("libweighbridge_capi.{suffix}")), &unnamed)?;
    fs::rename(&unnamed, lib.join(&real))?;
    link_to(&real, &lib.join(&name))?;
    link_to(&name, &lib.join(format!("libweighbridge.{suffix}")))?;
    fs::write(lib.join("pkgconfig/weighbridge.pc"), pkg_config()?)?;
    Ok(())
}

/// The name that programs look for, that of the file, and what tells the linker the first.
fn names() -> (String, String, String) {
    let version = env!("CARGO_PKG_VERSION");
    if cfg!(target_os = "macos") {
        let name = format!("libweighbridge.{ABI}.dylib");
        let link = format!("-install_name,@rpath/{name}");
        return (name, format!("libweighbridge.{version}.dylib"), link);
    }
    let name = format!("libweighbridge.so.{ABI}");
    let link = format!("-soname,{name}");
    (name, format!("libweighbridge.so.{version}"), link)
}

fn link_to(file: &str, link: &Path) -> Result {
    let _ = fs::remove_file(link);
    #[cfg(unix)]
    std::os::unix::fs::symlink(file, link)?;
    #[cfg(not(unix))]
    return Err(format!("{} cannot be a link to {file} here", link.display()).into());
    #[cfg(unix)]
    Ok(())
}

fn pkg_config() -> Result<String> {
    Ok(format!(
        "prefix=${{pcfiledir}}/../..\nincludedir=${{prefix}}/include\nlibdir=${{prefix}}/lib\n\n\
         Name: weighbridge\nDescription: Is this the model that its publisher signed?\nVersion: {}\n\
         Cflags: -I${{includedir}}\nLibs: -L${{libdir}} -lweighbridge\nLibs.private: {}\n",
        env!("CARGO_PKG_VERSION"),
        native_libraries()?
    ))
}

/// The libraries of the system that the standard library needs, as the compiler names them.
fn native_libraries() -> Result<String> {
    let folder = target()?.join("native-libraries");
    fs::create_dir_all(&folder)?;
    let mut ask = command("rustc", "--crate-type staticlib --print native-static-libs -o");
    let asked = ask.arg(folder.join("nothing.a")).arg("-").stdin(std::process::Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&asked.stderr).into_owned();
    let libraries = said.lines().find_map(|line| line.split_once("native-static-libs: "));
    Ok(libraries.ok_or("rustc does not say which libraries of the system are needed")?.1.to_owned())
}

/// The gate's step.
pub(crate) fn check() -> Result<Outcome> {
    header::check()?;
    let prefix = root().join("target/capi");
    if prefix.exists() {
        fs::remove_dir_all(&prefix)?;
    }
    install(&[], "debug", &prefix)?;
    let header = read(&prefix.join("include/weighbridge.h"))?;
    check_surface(&header, &prefix)?;
    check_pages(&prefix)?;
    let programs = Programs::build(&prefix)?;
    programs.check_model(&generated()?, "org/generated", "model-00002-of-00002.safetensors")?;
    if let Some(real) = real_model::fetched() {
        programs.check_model(
            &copy_of(&real)?,
            "sentence-transformers/all-MiniLM-L6-v2",
            "model.safetensors",
        )?;
    }
    Ok(Outcome::Passed)
}

/// The library exports the functions of the header and no others, and the header says what `tests/abi.txt` says.
fn check_surface(header: &str, prefix: &Path) -> Result {
    let surface = surface(header);
    let kept = read(&root().join(SOURCE).join("tests/abi.txt"))?;
    if kept != surface {
        let found = root().join("target/capi/abi.txt");
        fs::write(&found, &surface)?;
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
        let (before, now) = (lines(&kept), lines(&surface));
        before.difference(&now).for_each(|line| println!("- {line}"));
        now.difference(&before).for_each(|line| println!("+ {line}"));
        return Err(format!(
            "the C interface is not that of {SOURCE}/tests/abi.txt. If that is meant, replace it by target/capi/abi.txt; if \
             something changed or went, raise ABI in xtask"
        )
        .into());
    }
    let named = |line: &str| {
        line.split_once('(').and_then(|(before, _)| before.rsplit([' ', '*']).next()).map(str::to_owned)
    };
    let declared: BTreeSet<_> = surface
        .lines()
        .filter(|line| line.ends_with(");") && !line.starts_with("typedef"))
        .filter_map(named)
        .collect();
    let library = prefix.join("lib").join(names().0);
    let Some(symbols) = output(command("nm", "-D --defined-only").arg(library)) else {
        return Err("nm does not list what the library exports".into());
    };
    let exported = symbols.lines().filter_map(|line| line.rsplit(' ').next());
    let exported: BTreeSet<_> = exported.map(|name| name.trim_start_matches('_').to_owned()).collect();
    let differences: Vec<_> = declared.symmetric_difference(&exported).cloned().collect();
    if differences.is_empty() {
        println!("{} functions, exported and declared", declared.len());
        return Ok(());
    }
    Err(format!("exported or declared, but not both: {}", differences.join(", ")).into())
}

/// The lines of C in the pages compile.
fn check_pages(prefix: &Path) -> Result {
    for page in ["README.md", "docs/c.md"] {
        let text = read(&root().join(page))?;
        let lines = text.split_once("```c\n").and_then(|(_, rest)| rest.split_once("```"));
        let (lines, _) = lines.ok_or_else(|| format!("{page} has no lines of C"))?;
        let program = format!(
            "#include <stdio.h>\n#include <time.h>\n#include <weighbridge.h>\n\n\
             void page(const uint8_t *vkey, size_t vkey_len, size_t file, uint64_t offset, uint8_t *into, size_t len);\n\
             void page(const uint8_t *vkey, size_t vkey_len, size_t file, uint64_t offset, uint8_t *into, size_t len)\n\
             {{\nwb_policy *policy;\nwb_model *model;\nwb_error error;\n{lines}}}\n"
        );
        let file = prefix.join("page.c");
        fs::write(&file, program)?;
        let mut check = command("cc", "-std=c99 -Wall -Wextra -Werror -fsyntax-only -I");
        run_command(check.arg(prefix.join("include")).arg(file))?;
    }
    Ok(())
}

/// Each declaration of a header on a line of its own, without comments and conditions.
fn surface(header: &str) -> String {
    let mut code = String::new();
    let mut rest = header;
    while let Some((before, after)) = rest.split_once("/*") {
        code += before;
        rest = after.split_once("*/").map_or("", |(_, after)| after);
    }
    code += rest;
    let is_code =
        |line: &&str| !line.starts_with('#') || line.starts_with("#define WB_") && line.contains(' ');
    let mut lines = Vec::<String>::new();
    let mut open = String::new();
    let without = |line| str::split(line, "//").next().unwrap_or_default().trim();
    for line in code.lines().map(without).filter(|line| !line.is_empty()).filter(is_code) {
        if line.starts_with("#define") {
            let words: Vec<_> = line.split_whitespace().collect();
            // What stands for a condition has no value.
            lines.extend((words.len() > 2).then(|| words.join(" ")));
            continue;
        }
        if line.contains("extern \"C\"") || line == "}" {
            continue;
        }
        open = format!("{open} {line}").trim().replace("( ", "(");
        if open.ends_with(';') && open.matches('{').count() == open.matches('}').count() {
            lines.push(std::mem::take(&mut open));
        }
        // The codes have a table of their own.
        lines.retain(|line| !line.starts_with("enum"));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The programs, linked with the shared library and with the static one.
struct Programs {
    folder: PathBuf,
    library: PathBuf,
}

impl Programs {
    fn build(prefix: &Path) -> Result<Self> {
        let this = Self { folder: prefix.join("programs"), library: prefix.join("lib") };
        fs::create_dir_all(&this.folder)?;
        let pkg_config = |arguments: &str| {
            let mut ask = command("pkg-config", arguments);
            let said = output(ask.arg("weighbridge").env("PKG_CONFIG_PATH", this.library.join("pkgconfig")));
            said.ok_or("pkg-config does not find weighbridge")
        };
        let strict = "-O1 -g -Wall -Wextra -Wpedantic -Wconversion -Werror";
        for (compiler, standard, source) in [
            ("cc", "-std=c99", "examples/verify.c"),
            ("c++", "-std=c++17", "examples/tensor.cpp"),
            ("cc", "-std=gnu99 -pthread", "tests/threads.c"),
        ] {
            let name = Path::new(source).file_stem().ok_or("no name")?;
            let source = root().join(SOURCE).join(source);
            let mut build = command(compiler, &format!("{standard} {strict}"));
            build
                .args(pkg_config("--cflags")?.split_whitespace())
                .arg("-o")
                .arg(this.folder.join(name))
                .arg(&source);
            run_command(build.args(pkg_config("--libs")?.split_whitespace()))?;
        }
        let libraries = pkg_config("--libs --static")?;
        let libraries = libraries.split_whitespace().filter(|word| *word != "-lweighbridge");
        let mut build = command("cc", &format!("-std=c99 {strict}"));
        build
            .args(pkg_config("--cflags")?.split_whitespace())
            .arg("-o")
            .arg(this.folder.join("verify-static"));
        build.arg(root().join(SOURCE).join("examples/verify.c")).arg(this.library.join("libweighbridge.a"));
        run_command(build.args(libraries))?;
        Ok(this)
    }

    /// Expects that a program ends with this status, says this, and that valgrind finds nothing.
    fn expect(&self, program: &str, arguments: &[&str], status: i32, said: &str) -> Result {
        let (name, options) = program.split_once(' ').unwrap_or((program, ""));
        let program = self.folder.join(name);
        let mut start = match options {
            "" => command(program, ""),
            tool => {
                let mut start = command("valgrind", &format!("--quiet --error-exitcode=99 {tool}"));
                start.arg(program);
                start
            }
        };
        let ended = start.args(arguments).env("LD_LIBRARY_PATH", &self.library).output()?;
        let text = String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned();
        println!("{name} {options} {}: {}", arguments.join(" "), ended.status);
        if ended.status.code() == Some(status) && text.contains(said) {
            return Ok(());
        }
        Err(format!("expected status {status} and '{said}', found {}: {text}", ended.status).into())
    }

    /// Weighs a model, and lets the programs verify it, before and after a byte flips.
    fn check_model(&self, model: &Path, name: &str, file: &str) -> Result {
        let weighbridge = built("weighbridge")?;
        let keys = self.folder.join("keys");
        if !keys.exists() {
            run_command(command(&weighbridge, "keygen alice --unencrypted -o").arg(&keys))?;
        }
        let key = keys.join("alice.key");
        run_command(
            command(&weighbridge, "weigh --quiet --name").arg(name).arg(model).arg("--key").arg(key),
        )?;
        let (vkey, folder) = (keys.join("alice.vkey"), model.to_string_lossy());
        let vkey = vkey.to_string_lossy();
        let arguments = [&*folder, name, &*vkey];
        let tensor = first_tensor(model, file)?;
        let of_tensor = [&*folder, name, &*vkey, file, &*tensor];
        let bytes = fs::read(model.join(file))?;
        let is_small = bytes.len() < 10 << 20;
        let has_valgrind = output(&mut command("valgrind", "--version")).is_some();
        let memcheck = if has_valgrind { "--leak-check=full --show-leak-kinds=all" } else { "" };

        self.expect("verify", &arguments, 0, &format!("ok {file}"))?;
        self.expect("verify-static", &arguments, 0, &format!("ok {file}"))?;
        self.expect(&format!("tensor {memcheck}"), &of_tensor, 0, " chunks")?;
        self.expect("verify", &[&*folder, "org/another", &*vkey], 1, "[W3201]")?;
        self.expect("threads", &[&arguments[..], &["model"]].concat(), 0, "8 threads")?;
        self.expect("verify", &["/nowhere", name, &*vkey], 2, "[W9002]")?;
        let all = [&arguments[..], &["model"]].concat();
        if is_small {
            self.expect(&format!("verify {memcheck}"), &arguments, 0, &format!("ok {file}"))?;
            self.expect(&format!("threads {memcheck}"), &all, 0, "8 threads")?;
        }
        if is_small && has_valgrind {
            self.expect("threads --tool=drd", &arguments, 0, "8 threads")?;
        }

        // A bit of the last byte flips, which belongs to a tensor.
        let mut flipped = bytes.clone();
        *flipped.last_mut().ok_or("an empty file")? ^= 1;
        fs::write(model.join(file), &flipped)?;
        self.expect("verify", &arguments, 1, "[W2102]")?;
        self.expect("verify", &arguments, 1, &format!("..{} again", bytes.len()))?;
        if is_small {
            self.expect(&format!("verify {memcheck}"), &arguments, 1, "[W2102]")?;
        }
        fs::write(model.join(file), bytes)?;
        Ok(())
    }
}

/// The name of a tensor in a file, as the tensor list has it.
fn first_tensor(model: &Path, file: &str) -> Result<String> {
    let list = read(&model.join("weighbridge/tensors.jsonl"))?;
    let line = list.lines().find(|line| line.contains(&format!("\"file\":\"{file}\"")));
    let name = line.and_then(|line| line.strip_prefix("{\"tensor\":\"")?.split('"').next());
    Ok(name.ok_or("the file has no tensors")?.to_owned())
}

/// A small model in two shards.
fn generated() -> Result<PathBuf> {
    let folder = root().join("target/capi/generated");
    fs::create_dir_all(&folder)?;
    let _ = Llama::of_size(3_000_000, 2, 1).write(&folder)?;
    Ok(folder)
}

fn copy_of(model: &Path) -> Result<PathBuf> {
    let copy = root().join("target/capi/real");
    for file in crate::process::files_below(model)? {
        let place = copy.join(file.strip_prefix(model)?);
        fs::create_dir_all(place.parent().unwrap_or(&copy))?;
        fs::copy(&file, place)?;
    }
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_declaration_stands_on_a_line() {
        let header = "/* A. */\n// B\n#ifndef X\n#define X\n#define WB_HOSTED\n#define WB_LEN 1024\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n\
                      typedef struct {\n  /* ; } */\n  int a;\n} wb_a;\n\nint wb_f(int a,\n         int b);\n#ifdef __cplusplus\n}\n#endif\n";
        assert_eq!(
            surface(header),
            "#define WB_LEN 1024\ntypedef struct { int a; } wb_a;\nint wb_f(int a, int b);\n"
        );
    }
}
