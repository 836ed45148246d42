//! Plays swarms in virtual time, with the plan of real members, and compares them with the bound.
//!
//! `cargo run --release -p weighbridge-benches --example swarm_simulation -- [small|open|large|largest|all] [SEEDS] [DIRECTORY]`
//!
//! Prints a line for each scene and seed: the bound and the term that is largest in it, the time in parts of the bound
//! (or of the same scene without the slow node, or the free riders), the bytes from the origin, the part of all bytes that was sent in
//! vain, and the part of the model that free riders have when the last of the others has all of it. Writes
//! `swarm_ratios.svg` and `swarm_progress.svg` to the directory, if one is given.

use std::{error::Error, fmt::Write as _, fs, path::Path, time::Instant};

use weighbridge_benches::plot;
use weighbridge_swarm::simulation::{Case, Outcome};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let which = arguments.next().unwrap_or_else(|| "small".into());
    let seeds: u64 = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let cases = match which.as_str() {
        "small" => Case::small(),
        "open" => Case::open(),
        "large" => Case::large(),
        "largest" => Case::largest(),
        "all" => [Case::small(), Case::open(), Case::large(), Case::largest()].concat(),
        other => return Err(format!("small, open, large, largest or all, not {other}").into()),
    };
    println!(
        "{:28} {:>4} {:>8} {:8} {:>8} {:>6} {:>6} {:>7} {:>7} {:>7} {:>6} {:>9}",
        "scene",
        "seed",
        "bound s",
        "term",
        "took s",
        "ratio",
        "limit",
        "models",
        "vain",
        "joiner",
        "riders",
        "played s"
    );
    let mut played = Vec::new();
    for case in &cases {
        for seed in 1..=seeds {
            let case = case.with_seed(seed);
            let started = Instant::now();
            let (outcome, ratio) = case.play();
            let joiner = outcome.joiners.iter().copied().fold(0.0, f64::max);
            let riders = outcome.free_riders.map_or(0.0, |riders| riders.part);
            println!(
                "{:28} {seed:>4} {:>8.2} {:8} {:>8.2} {ratio:>6.3} {:>6.2} {:>7.3} {:>7.4} {joiner:>7.2} {riders:>6.2} {:>9.2}{}",
                case.scene.name,
                outcome.bound.seconds,
                outcome.bound.term,
                outcome.seconds,
                case.ratio,
                outcome.egress,
                outcome.twice,
                started.elapsed().as_secs_f64(),
                if case.holds(&outcome, ratio) { "" } else { "  DOES NOT HOLD" }
            );
            played.push((case, outcome, ratio));
        }
    }
    if let Some(directory) = arguments.next() {
        let directory = Path::new(&directory);
        fs::create_dir_all(directory)?;
        fs::write(directory.join("swarm_ratios.svg"), ratios(&played))?;
        fs::write(directory.join("swarm_progress.svg"), progress(&played))?;
    }
    Ok(())
}

/// A bar for each scene: from the bound, which is 1, to the largest ratio of all seeds; and a mark at the limit.
fn ratios(played: &[(Case, Outcome, f64)]) -> String {
    let mut worst: Vec<(&Case, f64)> = Vec::new();
    for (case, _, ratio) in played {
        match worst.last_mut() {
            Some((last, most)) if last.scene.name == case.scene.name => *most = most.max(*ratio),
            _ => worst.push((case, *ratio)),
        }
    }
    let x = |ratio: f64| 230.0 + (ratio - 0.9) * 700.0;
    let bottom = 40 + 24 * worst.len();
    let mut svg = plot::open(
        620,
        bottom + 40,
        "Time in parts of the bound: bar and figure, the worst seed; mark, the limit",
    );
    for (row, (case, ratio)) in worst.iter().enumerate() {
        let y = 40 + 24 * row;
        let end = x(ratio.min(1.4));
        let (name, limit) = (&case.scene.name, x(case.ratio));
        let _ = writeln!(svg, r#"<text x="222" y="{}" text-anchor="end">{name}</text>"#, y + 13);
        let (left, width) = (x(1.0).min(end), (end - x(1.0)).abs());
        let _ =
            writeln!(svg, r##"<rect x="{left:.1}" y="{y}" width="{width:.1}" height="16" fill="#4878a8"/>"##);
        let _ = writeln!(
            svg,
            r##"<path d="M{limit:.1} {}v20" stroke="#c44" stroke-width="2"/><text x="{:.1}" y="{}">{ratio:.3}</text>"##,
            y - 2,
            end.max(x(1.0)) + 5.0,
            y + 13
        );
    }
    for tenth in 9..=14 {
        let ratio = f64::from(tenth) / 10.0;
        let _ = writeln!(
            svg,
            r##"<path d="M{:.1} 34V{bottom}" stroke="#888" stroke-width="0.5"/><text x="{0:.1}" y="{}" text-anchor="middle">{ratio:.1}</text>"##,
            x(ratio),
            bottom + 18
        );
    }
    svg + "</svg>\n"
}

/// A line for the first seed of each scene: the part of all pieces that is there, over the time in parts of the bound.
fn progress(played: &[(Case, Outcome, f64)]) -> String {
    let first = played.iter().filter(|(case, ..)| case.scene.seed == 1);
    let shown: Vec<_> =
        first.filter(|(case, ..)| case.scene.join.is_none() && case.scene.not_waited_for == 0).collect();
    let [x, y] = [|time: f64| 50.0 + time * 360.0, |part: f64| 350.0 - part * 300.0];
    let mut svg = plot::open(780, 390, "Pieces that are there, over the time in parts of the bound");
    let _ = writeln!(svg, r##"<path d="M50 50V350H518M410 50V350" stroke="#888" fill="none"/>"##);
    for (row, (case, outcome, _)) in shown.iter().enumerate() {
        let colour = plot::colour(row, shown.len());
        let end = outcome.ratio();
        let points = outcome.progress.iter().map(|(seconds, part)| (seconds / outcome.bound.seconds, *part));
        let drawn = points.filter(|(time, _)| *time <= end.min(1.3));
        let path = plot::path(drawn.map(|(time, part)| (x(time), y(part))));
        let _ = writeln!(svg, r#"<path d="{path}" stroke="{colour}" fill="none" stroke-width="1.5"/>"#);
        let name = &case.scene.name;
        let _ = writeln!(svg, r#"<text x="540" y="{}" fill="{colour}">{name}</text>"#, 60 + 18 * row);
    }
    for tenth in [0, 5, 10, 12] {
        let time = f64::from(tenth) / 10.0;
        let _ = writeln!(svg, r#"<text x="{:.1}" y="368" text-anchor="middle">{time:.1}</text>"#, x(time));
    }
    let _ = writeln!(
        svg,
        r#"<text x="44" y="354" text-anchor="end">0</text><text x="44" y="54" text-anchor="end">1</text>"#
    );
    svg + "</svg>\n"
}
