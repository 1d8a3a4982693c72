//! Compiles the CSI contract with protox, so that no `protoc` has to be installed.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use protox::Compiler;
use protox::prost_reflect::{DescriptorPool, MessageDescriptor};

fn main() -> Result<(), Box<dyn Error>> {
    // cargo:rerun lines are this program's answer to cargo, not a log.
    #[expect(clippy::disallowed_macros, reason = "a build script talks to cargo on stdout")]
    {
        println!("cargo:rerun-if-changed=proto");
    }

    let mut compiler = Compiler::new(["proto"])?;
    compiler.include_source_info(true).include_imports(true);
    compiler.open_file("csi.proto")?;

    let secretive = secretive(&compiler.descriptor_pool())?;
    let out = env::var("OUT_DIR")?;
    fs::write(Path::new(&out).join("redacted.rs"), redacted(&secretive)?)?;

    let paths: Vec<String> =
        secretive.iter().map(|one| format!(".{}", one.message.full_name())).collect();
    tonic_prost_build::configure()
        .generate_default_stubs(true)
        .codec_path("crate::grpc::codec::Codec")
        .skip_debug(paths)
        .emit_rerun_if_changed(false)
        .compile_fds(compiler.file_descriptor_set())?;

    let mut kubelet = Compiler::new(["proto"])?;
    kubelet.include_source_info(true).open_file("pluginregistration.proto")?;
    tonic_prost_build::configure()
        .emit_rerun_if_changed(false)
        .compile_fds(kubelet.file_descriptor_set())?;
    Ok(())
}

/// A message with fields that the contract marks `csi_secret`.
struct Secretive {
    message: MessageDescriptor,
    /// The names of these fields.
    secrets: Vec<String>,
}

/// Every such message.
fn secretive(pool: &DescriptorPool) -> Result<Vec<Secretive>, Box<dyn Error>> {
    let mark = pool
        .get_extension_by_name("csi.v1.csi_secret")
        .ok_or("the contract does not define csi_secret")?;
    let mut found = Vec::new();
    for message in pool.all_messages() {
        let secrets: Vec<String> = message
            .fields()
            .filter(|field| field.options().get_extension(&mark).as_bool() == Some(true))
            .map(|field| field.name().to_owned())
            .collect();
        if secrets.is_empty() {
            continue;
        }
        if message.parent_message().is_some() || message.oneofs().len() > 0 {
            return Err(format!("{}: cannot write its Debug", message.full_name()).into());
        }
        found.push(Secretive { message, secrets });
    }
    Ok(found)
}

/// A `Debug` for each of these messages that prints everything but the secrets.
fn redacted(messages: &[Secretive]) -> Result<String, std::fmt::Error> {
    let mut code = String::new();
    for Secretive { message, secrets } in messages {
        let name = message.name();
        writeln!(code, "impl ::std::fmt::Debug for {name} {{")?;
        writeln!(
            code,
            "    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {{"
        )?;
        writeln!(code, "        f.debug_struct({name:?})")?;
        for field in message.fields() {
            let field = field.name().to_owned();
            if secrets.contains(&field) {
                writeln!(code, "            .field({field:?}, &\"<redacted>\")")?;
            } else {
                writeln!(code, "            .field({field:?}, &self.{field})")?;
            }
        }
        writeln!(code, "            .finish()\n    }}\n}}")?;
    }
    Ok(code)
}
