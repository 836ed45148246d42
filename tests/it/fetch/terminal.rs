//! A fetch as a person sees it on a real terminal, which tmux draws.

use std::{
    process::{self, Command},
    thread,
    time::{Duration, Instant},
};

use super::kit::{SHARDS, fleet};
use crate::command::kit::{World, skip};
use weighbridge_testkit::servers::{Fault, Faulty};

/// A terminal of its own in which the command runs.
struct Terminal {
    socket: String,
}

impl Terminal {
    fn is_available() -> bool {
        Command::new("tmux").arg("-V").output().is_ok_and(|output| output.status.success())
    }

    fn start(world: &World, columns: usize, line: &str, words: &[&str]) -> Self {
        let terminal = Self { socket: format!("weighbridge-{}-{columns}", process::id()) };
        let command = world.command(line);
        let mut said: Vec<&str> = vec![command.get_program().to_str().unwrap()];
        said.extend(command.get_args().map(|word| word.to_str().unwrap()).chain(words.iter().copied()));
        let quoted: Vec<String> =
            said.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect();
        let (columns, home) = (columns.to_string(), world.path(""));
        // The screen stays when the command has ended.
        let begin =
            ["start-server", ";", "set-option", "-g", "remain-on-exit", "on", ";", "new-session", "-d"];
        let shell = format!("exec {}", quoted.join(" "));
        let session = ["-x", &columns, "-y", "50", "-c", home.to_str().unwrap(), &shell];
        terminal.tmux(&[&begin[..], &session].concat());
        terminal
    }

    fn tmux(&self, words: &[&str]) -> String {
        let mut tmux = Command::new("tmux");
        let output = tmux.args(["-L", &self.socket, "-f", "/dev/null"]).args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    /// Waits until all these texts are on the screen, wherever rows break them; returns the screen.
    #[track_caller]
    fn shows(&self, texts: &[&str]) -> String {
        let start = Instant::now();
        loop {
            let screen = self.tmux(&["capture-pane", "-p"]);
            let joined = joined(&screen);
            if texts.iter().all(|text| joined.contains(&text.replace(' ', ""))) {
                return screen;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "expected {texts:?}:\n{screen}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux").args(["-L", &self.socket, "kill-server"]).output();
    }
}

/// The text without blanks and row breaks.
fn joined(screen: &str) -> String {
    screen.split_whitespace().collect()
}

/// Regression: on 40 columns the states of sources were cut, and their blame was not shown at all. A typed Ctrl-C
/// left its `^C` and a row of the bar on the screen.
#[test]
fn on_a_narrow_terminal_nothing_is_cut_and_ctrl_c_leaves_nothing_of_the_bar() {
    if !Terminal::is_available() {
        return skip("tmux is not installed");
    }
    let fleet = fleet();
    let [liar, slow, mut gone] = [(); 3].map(|()| Faulty::start(&fleet.model));
    drop(liar.fail(Fault::Flip.on(SHARDS)));
    slow.limit_rate(100_000);
    gone.unplug();
    let line = format!("fetch -o seen --state seen.heads --name {} --vkey {}", fleet.name, fleet.vkey);
    let urls = [liar.url(), slow.url(), gone.url()];
    for columns in [40, 80, 200] {
        let words = urls.each_ref().map(String::as_str);
        let terminal = Terminal::start(&fleet.world, columns, &line, &words);
        let blamed = [
            "set aside",
            "does not match the signed root",
            "unreachable: cannot be connected to: Connection refused",
        ];
        let active = format!("{} active", urls[1]);
        let rows = [&blamed[..], &[&active, "verified ["]].concat();
        let screen = terminal.shows(&rows);
        assert!(screen.lines().all(|row| row.chars().count() <= columns), "{screen}");
        terminal.press("C-c");
        let screen = terminal.shows(&["[W9202]", "the same command goes on from there", "lied:"]);
        assert!(!screen.contains("^C") && !screen.contains("verified ["), "{screen}");
    }
}
