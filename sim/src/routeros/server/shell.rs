//! A console for a person: a prompt, echo, backspace, `/quit`.

use tokio::sync::mpsc;

use super::super::console::{ExecError, Session};
use super::super::machine::RouterOs;
use super::handler::Answer;

/// Characters in the line being typed.
const MAX_LINE: usize = 65_535;

/// What a key did.
#[derive(Debug, PartialEq, Eq)]
enum Key {
    /// Nothing but the line changed.
    Typed,
    /// Return: here is the line.
    Line(String),
    /// The end of the session.
    End,
}

/// The line being typed.
#[derive(Debug, Default)]
struct Editor {
    line: Vec<u8>,
    escape: u8,
}

impl Editor {
    /// Takes one byte; `echo` gets what the terminal shall show.
    fn take(&mut self, byte: u8, echo: &mut Vec<u8>) -> Key {
        // Cursor keys and the like are three bytes, of which nothing happens.
        if self.escape > 0 {
            let ends = self.escape == 2 && byte.is_ascii_alphabetic() || byte == b'~';
            self.escape = if ends { 0 } else { 2 };
            return Key::Typed;
        }
        match byte {
            b'\r' | b'\n' => {
                echo.extend_from_slice(b"\r\n");
                let line = std::mem::take(&mut self.line);
                Key::Line(String::from_utf8_lossy(&line).into_owned())
            }
            3 => {
                self.line.clear();
                echo.extend_from_slice(b"\r\n");
                Key::Line(String::new())
            }
            4 if self.line.is_empty() => Key::End,
            8 | 127 => {
                if self.line.pop().is_some() {
                    echo.extend_from_slice(b"\x08 \x08");
                }
                Key::Typed
            }
            27 => {
                self.escape = 1;
                Key::Typed
            }
            byte if byte >= 32 && self.line.len() < MAX_LINE => {
                self.line.push(byte);
                echo.push(byte);
                Key::Typed
            }
            _ => Key::Typed,
        }
    }
}

/// Serves until the person leaves or the connection ends.
pub(super) async fn run(
    os: &RouterOs,
    console: &Session,
    mut input: mpsc::Receiver<Vec<u8>>,
    answer: &Answer,
    echo: bool,
) -> Result<(), ExecError> {
    let prompt = || format!("[admin@{}] > ", os.identity()).into_bytes();
    if echo {
        let version = os.version();
        let hello = format!("\r\n  simulated RouterOS {version}; /quit leaves\r\n\r\n");
        answer.print(hello.into_bytes()).await;
        answer.print(prompt()).await;
    }
    let mut editor = Editor::default();
    while let Some(bytes) = input.recv().await {
        for byte in bytes {
            let mut shown = Vec::new();
            let key = editor.take(byte, &mut shown);
            if echo && !shown.is_empty() {
                answer.print(shown).await;
            }
            match key {
                Key::Typed => {}
                Key::End => return Ok(()),
                Key::Line(line) if matches!(line.trim(), "/quit" | "quit") => return Ok(()),
                Key::Line(line) => {
                    if !line.trim().is_empty() {
                        let result = console.exec(&line).await?;
                        answer.print(result.stdout).await;
                        answer.print(result.stderr).await;
                    }
                    if echo {
                        answer.print(prompt()).await;
                    }
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod test {
    use super::*;

    fn typed(bytes: &[u8]) -> Vec<Key> {
        let mut editor = Editor::default();
        let keys = bytes.iter().map(|byte| editor.take(*byte, &mut Vec::new()));
        keys.filter(|key| *key != Key::Typed).collect()
    }

    #[test]
    fn backspace_takes_back_and_cursor_keys_do_nothing() {
        assert_eq!(typed(b"/disx\x7fk\x1b[A print\r"), [Key::Line("/disk print".to_owned())]);
        assert_eq!(typed(b"abc\x03x\r"), [Key::Line(String::new()), Key::Line("x".to_owned())]);
        assert_eq!(typed(b"\x04"), [Key::End]);
    }
}
