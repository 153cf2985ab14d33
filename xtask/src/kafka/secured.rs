//! What the broker's SASL_SSL listener needs: a certificate and a password that live as long as the broker's data.

use std::io::Read as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// The one user.
pub(super) const USER: &str = "asterism";
/// The broker's entry in its keystore.
const ALIAS: &str = "broker";
/// How `keytool` gets the password: other users can read a command line.
const PASSWORD_VARIABLE: &str = "ASTERISM_KEYSTORE_PASSWORD";

/// The secured side of the broker of one directory.
#[derive(Clone)]
pub(super) struct Secured {
    dir: PathBuf,
    /// Of the user, and of the keystore.
    password: String,
}

impl std::fmt::Debug for Secured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secured").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Secured {
    /// The password of the broker in `dir`; a new broker gets a random one.
    pub(super) fn of(dir: &Path) -> Result<Self> {
        let file = dir.join("password");
        let password = match std::fs::read_to_string(&file) {
            Ok(password) => password,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let password = random_password()?;
                write_private(&file, &password)?;
                password
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
        };
        Ok(Self { dir: dir.to_owned(), password })
    }

    /// Makes the broker's key and self-signed certificate with the JDK's `keytool`, unless they are there.
    pub(super) fn ensure_certificate(&self) -> Result<()> {
        let ca = self.ca();
        if ca.is_file() {
            return Ok(());
        }
        let names = ["-dname", "CN=localhost", "-ext", "SAN=IP:127.0.0.1,DNS:localhost"];
        let key = ["-keyalg", "EC", "-groupname", "secp256r1", "-validity", "3650", "-storetype", "PKCS12"];
        self.keytool(|keytool| keytool.arg("-genkeypair").args(names).args(key))?;
        self.keytool(|keytool| keytool.args(["-exportcert", "-rfc", "-file"]).arg(&ca))
    }

    fn keytool(&self, task: impl FnOnce(&mut Command) -> &mut Command) -> Result<()> {
        let mut keytool = Command::new("keytool");
        task(&mut keytool)
            // It runs for a moment: the first compiler is enough.
            .arg("-J-XX:TieredStopAtLevel=1")
            .args(["-alias", ALIAS, "-storepass:env", PASSWORD_VARIABLE, "-keystore"])
            .arg(self.keystore())
            .env(PASSWORD_VARIABLE, &self.password)
            .stdin(Stdio::null());
        let output = keytool.output().context("cannot run keytool, which comes with the JDK")?;
        if !output.status.success() {
            // It complains on standard output.
            bail!("keytool makes no certificate:\n{}", String::from_utf8_lossy(&output.stdout).trim());
        }
        Ok(())
    }

    /// The certificate to trust, in PEM.
    pub(super) fn ca(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    fn keystore(&self) -> PathBuf {
        self.dir.join("broker.p12")
    }

    pub(super) fn password(&self) -> &str {
        &self.password
    }

    /// The user's credentials as `StorageTool` takes them: SCRAM's are records of the cluster.
    pub(super) fn scram(&self) -> String {
        format!("SCRAM-SHA-256=[name={USER},password={}]", self.password)
    }

    /// The listener's part of `server.properties`.
    pub(super) fn properties(&self) -> String {
        let (keystore, password) = (self.keystore(), &self.password);
        let keystore = keystore.display();
        let module = "org.apache.kafka.common.security";
        format!(
            "ssl.keystore.type=PKCS12\n\
             ssl.keystore.location={keystore}\n\
             ssl.keystore.password={password}\n\
             sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256\n\
             listener.name.sasl_ssl.plain.sasl.jaas.config={module}.plain.PlainLoginModule required \
             user_{USER}=\"{password}\";\n\
             listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={module}.scram.ScramLoginModule required;\n"
        )
    }
}

/// Writes what nobody else may read.
pub(super) fn write_private(path: &Path, text: &str) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file =
            std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        // It may have been there, open to others.
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        std::io::Write::write_all(&mut file, text.as_bytes())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn random_password() -> Result<String> {
    let mut bytes = [0_u8; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_is_random_private_and_lasts_as_long_as_the_directory() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let password = Secured::of(here.path()).unwrap().password;
        assert_eq!(password.len(), 32);
        assert_eq!(Secured::of(here.path()).unwrap().password, password);
        assert_ne!(Secured::of(there.path()).unwrap().password, password);
        let mode = std::fs::metadata(here.path().join("password")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
