//! Kafka's jars, through Maven with the developer's own settings.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{process, workspace};

/// The newest release that is whole on the public repository and runs on JDK 17.
pub(super) const VERSION: &str = "4.3.1";
/// Matches the slf4j-api that Kafka brings; without it the broker's log is lost.
const SLF4J_VERSION: &str = "1.7.36";

/// Makes sure that the jars are there; returns their folder.
pub(super) fn fetch() -> Result<PathBuf> {
    let home = workspace::target_dir().join("kafka").join(VERSION);
    let jars = home.join("jars");
    let complete = home.join("complete");
    if complete.is_file() {
        return Ok(jars);
    }
    require("java", &["-version"], "default-jdk-headless")?;
    require("mvn", &["--version"], "maven")?;
    process::say(&format!("fetching Apache Kafka {VERSION} through Maven"));
    std::fs::create_dir_all(&jars).with_context(|| format!("cannot create {}", jars.display()))?;
    let pom = home.join("pom.xml");
    std::fs::write(&pom, pom_text()).with_context(|| format!("cannot write {}", pom.display()))?;
    copy_dependencies(&pom, &jars)?;
    std::fs::write(&complete, "").with_context(|| format!("cannot write {}", complete.display()))?;
    Ok(jars)
}

/// Fails with the name of the Debian package if a program is missing.
pub(super) fn require(program: &str, arguments: &[&str], package: &str) -> Result<()> {
    match Command::new(program).args(arguments).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => bail!("{program} fails: {}", String::from_utf8_lossy(&output.stderr).trim()),
        Err(error) => bail!("cannot run {program} ({error}); install it: apt-get install {package}"),
    }
}

fn copy_dependencies(pom: &Path, jars: &Path) -> Result<()> {
    let output = Command::new("mvn")
        .args(["--batch-mode", "--quiet", "--file"])
        .arg(pom)
        .arg("dependency:copy-dependencies")
        .arg(format!("-DoutputDirectory={}", jars.display()))
        .output()
        .context("cannot run mvn")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        bail!(
            "Maven cannot fetch Kafka {VERSION}; check the network and ~/.m2/settings.xml:\n{}",
            said.trim()
        );
    }
    Ok(())
}

fn pom_text() -> String {
    let dependency = |group: &str, artifact: &str, version: &str| {
        format!(
            "    <dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
             <version>{version}</version></dependency>\n"
        )
    };
    let kafka = dependency("org.apache.kafka", "kafka_2.13", VERSION);
    let log = dependency("org.slf4j", "slf4j-simple", SLF4J_VERSION);
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n  <modelVersion>4.0.0</modelVersion>\n  \
         <groupId>asterism</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>\n  \
         <dependencies>\n{kafka}{log}  </dependencies>\n</project>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_program_is_named_with_its_package() {
        let error = require("no-such-program", &[], "some-package").unwrap_err().to_string();
        assert!(
            error.contains("no-such-program") && error.ends_with("apt-get install some-package"),
            "{error}"
        );
    }
}
