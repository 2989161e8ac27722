//! `chitin-vmm`: the process of one sandbox VM. With no argument it serves the control socket on descriptor 3.
#![deny(unsafe_code)]

use chitin_vmm::jail::seccomp::Mode;
use chitin_vmm::{boot, control, doctor, inherited, jail};
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
usage: chitin-vmm [--seccomp MODE] serve the control socket on descriptor 3
       chitin-vmm doctor [--json]  say whether this host can run guests (exit status 0 or 1)
       chitin-vmm boot [OPTIONS]   boot the guest kernel alone and print its log
         --cpus N  --mem MIB  --timeout SECONDS  --guest ELF  --share NAME=DIR[:rw]  --tap NAME
         --block FILE[:ro]  --seccomp MODE
       MODE is kill (default), log or off";

type Outcome = Result<ExitCode, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        [] => serve(Mode::default()),
        ["--seccomp", mode] => seccomp_mode(mode).and_then(serve),
        ["doctor"] => Ok(examine(doctor::Report::to_text)),
        ["doctor", "--json"] => Ok(examine(doctor::Report::to_json)),
        ["boot", rest @ ..] => boot_options(rest).and_then(|options| boot::run(&options)),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("chitin-vmm: {error}");
        ExitCode::from(1)
    })
}

fn serve(mode: Mode) -> Outcome {
    let socket = inherited::control_socket()?;
    jail::enter()?;
    control::serve(socket, mode)?;
    Ok(ExitCode::SUCCESS)
}

fn examine(form: fn(&doctor::Report) -> String) -> ExitCode {
    let report = doctor::examine();
    println!("{}", form(&report).trim_end());
    ExitCode::from(u8::from(!report.is_usable()))
}

fn seccomp_mode(word: &str) -> Result<Mode, Box<dyn std::error::Error>> {
    match word {
        "kill" => Ok(Mode::Kill),
        "log" => Ok(Mode::Log),
        "off" => Ok(Mode::Off),
        other => Err(format!("unknown seccomp mode {other}\n{USAGE}").into()),
    }
}

fn boot_options(words: &[&str]) -> Result<boot::Options, Box<dyn std::error::Error>> {
    let mut options = boot::Options::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} needs a value\n{USAGE}"))?;
        match *word {
            "--cpus" => options.cpus = value.parse()?,
            "--mem" => options.mem_mib = value.parse()?,
            "--timeout" => options.timeout = Duration::from_secs(value.parse()?),
            "--guest" => options.guest = Some(value.into()),
            "--share" => options.shares.push((*value).to_owned()),
            "--tap" => options.taps.push((*value).to_owned()),
            "--block" => options.blocks.push((*value).to_owned()),
            "--seccomp" => options.seccomp = seccomp_mode(value)?,
            other => return Err(format!("unknown option {other}\n{USAGE}").into()),
        }
    }
    Ok(options)
}
