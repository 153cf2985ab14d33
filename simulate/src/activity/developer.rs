//! Developers: compilers start many short processes, which is the busiest harmless tree a machine shows.

use event::Time;

use crate::clock::after;
use crate::company::Job;
use crate::record::Recorder;
use crate::record::endpoint::Spawn;
use crate::record::process::{self, Standing};

/// A build runs from the editor.
pub(super) fn build(rec: &mut Recorder<'_>, at: Time) {
    let company = rec.company;
    let person = company.someone(&mut rec.dice, Job::Developer);
    let (host, who) = (company.host_of(person), &person.identity);
    let shell = Standing::Explorer.on(host, who);
    let editor_image = process::image_of(&process::VSCODE, who);
    let editor = rec.spawn(
        host,
        at,
        Spawn::new(&shell, &process::VSCODE, format!("\"{editor_image}\" C:\\src\\plant"), who),
    );
    let command = "C:\\Windows\\System32\\cmd.exe /d /s /c \"git status -z -u\"";
    let console = rec.run(host, after(at, 1.0), Spawn::new(&editor, &process::CMD, command, who));
    rec.run(host, after(at, 1.1), Spawn::new(&console, &process::GIT, "git.exe status -z -u", who));
    let rust = rec.dice.chance(0.5);
    let (driver, compiler) =
        if rust { (&process::CARGO, &process::RUSTC) } else { (&process::MSBUILD, &process::CL) };
    let build = rec.spawn(
        host,
        after(at, 4.0),
        Spawn::new(
            &editor,
            driver,
            format!("{} build", driver.path.rsplit('\\').next().unwrap_or("build")),
            who,
        ),
    );
    let mut now = after(at, 5.0);
    for unit in 0..rec.dice.between(4, 10) {
        let command = format!(
            "{} /c unit_{unit}.obj unit_{unit}.src",
            compiler.path.rsplit('\\').next().unwrap_or("compiler")
        );
        let process = rec.run(host, now, Spawn::new(&build, compiler, command, who));
        rec.write_file(
            host,
            after(now, 0.3),
            &process,
            who,
            &format!("C:\\src\\plant\\target\\unit_{unit}.obj"),
        );
        let seconds = rec.dice.exponential(1.0);
        now = after(now, seconds);
    }
    rec.exit(host, after(now, 1.0), &build, who);
    rec.exit(host, after(now, 200.0), &editor, who);
}
