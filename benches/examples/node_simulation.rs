//! Plays what a node keeps, and fetches ahead, in virtual time, and compares it with other policies.
//!
//! `cargo run --release -p weighbridge-benches --example node_simulation -- [SEEDS] [FIRST SEED] [DIRECTORY]`
//!
//! Prints a line for each trace and policy: the waits of readers, in seconds and in parts of LRU's (the mean of all
//! seeds, and the worst), the part of them that waited, and what the line had to carry. Then, for all traces
//! together and a fifth of the seeds, the same for other budgets and other lines. Writes `node_waits.svg` and
//! `node_budgets.svg` to the directory, if one is given.

use std::{error::Error, fmt::Write as _, fs, path::Path, time::Instant};

use weighbridge_benches::{
    node::{
        LINE, Outcome, play,
        policy::Choice,
        trace::{Kind, Shape},
    },
    plot,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let seeds: u64 = arguments.next().map_or(Ok(2), |text| text.parse())?;
    println!(
        "{:11} {:25} {:>7} {:>7} {:>7} {:>7} {:>6} {:>6} {:>7} {:>6} {:>6} {:>7} {:>6} {:>6} {:>6} {:>9}",
        "trace",
        "policy",
        "p50 s",
        "p90 s",
        "p99 s",
        "of LRU",
        "worst",
        "mean s",
        "of LRU",
        "worst",
        "waited",
        "load",
        "ahead",
        "unused",
        "",
        "played s"
    );
    let first: u64 = arguments.next().map_or(Ok(1), |text| text.parse())?;
    let last = first + seeds - 1;
    let traces: Vec<(Kind, Vec<Row>)> = Kind::ALL
        .map(|kind| (kind, rows(&[kind], &Choice::ALL, first..=last, Shape::default(), LINE, kind.name())))
        .into();
    let few = first..=first + (seeds / 5).max(1) - 1;
    let compared = [Choice::Lru, Choice::Gdsf, Choice::Keeper, Choice::OracleKeepsOnly];
    let budgets: Vec<(f64, Vec<Row>)> = BUDGETS
        .map(|budget| {
            let shape = Shape { budget, ..Shape::default() };
            let name = format!("keeps {:.1} %", budget * 100.0);
            (budget, rows(&Kind::ALL, &compared, few.clone(), shape, LINE, &name))
        })
        .into();
    for line in [0.5, 2.0, 4.0] {
        rows(&Kind::ALL, &compared, few.clone(), Shape::default(), LINE * line, &format!("line × {line}"));
    }
    if let Some(directory) = arguments.next() {
        let directory = Path::new(&directory);
        fs::create_dir_all(directory)?;
        fs::write(directory.join("node_waits.svg"), waits(&traces))?;
        fs::write(directory.join("node_budgets.svg"), over_budgets(&budgets))?;
    }
    Ok(())
}

const BUDGETS: [f64; 5] = [0.025, 0.05, 0.1, 0.2, 0.4];

/// The outcomes of one policy.
struct Row {
    choice: Choice,
    /// The mean wait of all readers, in seconds.
    mean: f64,
    /// The mean and p99 of the waits of each trace, in parts of LRU's on the same trace: the mean of all traces.
    of_lru: (f64, f64),
}

/// Plays these traces with each policy, and prints what comes of it.
fn rows(
    kinds: &[Kind],
    choices: &[Choice],
    seeds: std::ops::RangeInclusive<u64>,
    shape: Shape,
    line: f64,
    name: &str,
) -> Vec<Row> {
    let traces: Vec<_> =
        kinds.iter().flat_map(|kind| seeds.clone().map(|seed| kind.draw(seed, shape))).collect();
    let lru: Vec<Outcome> =
        traces.iter().map(|trace| play(trace, Choice::Lru.policy(trace).as_mut(), line)).collect();
    let row = |choice: &Choice| {
        let started = Instant::now();
        let (mut all, mut means, mut p99s, mut seconds) = (Outcome::default(), vec![], vec![], 0.0);
        for (trace, lru) in traces.iter().zip(&lru) {
            let outcome = match choice {
                Choice::Lru => lru.clone(),
                _ => play(trace, choice.policy(trace).as_mut(), line),
            };
            means.push(outcome.mean() / lru.mean());
            p99s.push(outcome.quantile(0.99) / lru.quantile(0.99));
            seconds += outcome.quantile(0.99) / traces.len() as f64;
            all.add(outcome);
        }
        let mean_of = |ratios: &[f64]| ratios.iter().sum::<f64>() / ratios.len() as f64;
        let worst_of = |ratios: &[f64]| ratios.iter().copied().fold(0.0, f64::max);
        let of_lru = (mean_of(&means), mean_of(&p99s));
        println!(
            "{name:11} {:25} {:7.1} {:7.1} {seconds:7.1} {:7.3} {:6.3} {:6.2} {:7.3} {:6.3} {:6.3} {:7.3} {:6.3} {:6.3} {:>6} {:9.1}",
            choice.name(),
            all.quantile(0.5),
            all.quantile(0.9),
            of_lru.1,
            worst_of(&p99s),
            all.mean(),
            of_lru.0,
            worst_of(&means),
            all.waiting(),
            all.load(line),
            all.ahead / all.fetched,
            all.wasted(),
            "",
            started.elapsed().as_secs_f64()
        );
        Row { choice: *choice, mean: all.mean(), of_lru }
    };
    choices.iter().map(row).collect()
}

/// The policies of the plots, each with its colour.
fn colours() -> impl Iterator<Item = (Choice, String)> {
    let shown = [
        Choice::LfuDa,
        Choice::S3Fifo,
        Choice::Gdsf,
        Choice::KeepsOnly,
        Choice::Keeper,
        Choice::OracleKeepsOnly,
        Choice::Oracle,
    ];
    shown.into_iter().enumerate().map(move |(at, choice)| (choice, plot::colour(at, shown.len())))
}

/// One of the two parts of [`Row::of_lru`].
type Part = fn(&(f64, f64)) -> f64;

/// The left edge of each panel of waits, and what it shows.
const PANELS: [(f64, Part); 2] = [(90.0, |of| of.0), (520.0, |of| of.1)];

/// A row for each trace, and in it a mark for each policy: its waits in parts of LRU's.
fn waits(traces: &[(Kind, Vec<Row>)]) -> String {
    let bottom = 50 + 24 * traces.len();
    let mut svg = plot::open(
        940,
        bottom + 60,
        "Waits in parts of LRU's: the mean on the left, the 99th percentile on the right",
    );
    for (left, of) in PANELS {
        let x = |ratio: f64| left + ratio.min(1.15) * 330.0;
        for tenth in (0..=10).step_by(2) {
            let ratio = f64::from(tenth) / 10.0;
            let _ = writeln!(
                svg,
                r##"<path d="M{:.1} 40V{bottom}" stroke="#bbb" stroke-width="0.5"/><text x="{0:.1}" y="{}" text-anchor="middle">{ratio:.1}</text>"##,
                x(ratio),
                bottom + 16
            );
        }
        for (row, (kind, rows)) in traces.iter().enumerate() {
            let y = 56 + 24 * row;
            let _ = writeln!(
                svg,
                r#"<text x="{:.1}" y="{}" text-anchor="end">{}</text>"#,
                left - 8.0,
                y + 4,
                kind.name()
            );
            for (choice, colour) in colours() {
                let Some(found) = rows.iter().find(|row| row.choice == choice) else { continue };
                let x = x(of(&found.of_lru));
                let _ = writeln!(
                    svg,
                    r#"<circle cx="{x:.1}" cy="{y}" r="5" fill="{colour}" fill-opacity="0.85"/>"#
                );
            }
        }
    }
    for (at, (choice, colour)) in colours().enumerate() {
        let x = 20 + at * 130;
        let _ = writeln!(
            svg,
            r#"<circle cx="{x}" cy="{}" r="5" fill="{colour}"/><text x="{}" y="{}" font-size="10">{}</text>"#,
            bottom + 40,
            x + 9,
            bottom + 44,
            choice.name()
        );
    }
    svg + "</svg>\n"
}

/// A line for each policy: the mean wait of all traces, over the budget.
fn over_budgets(budgets: &[(f64, Vec<Row>)]) -> String {
    let most = budgets.iter().flat_map(|(_, rows)| rows).map(|row| row.mean).fold(0.0, f64::max);
    let [x, y] = [
        // A step for each doubling.
        |part: f64, _: f64| 60.0 + (part / 0.025).log2() * 110.0,
        |seconds: f64, most: f64| 340.0 - seconds / most * 290.0,
    ];
    let mut svg =
        plot::open(700, 390, "Mean wait in seconds, over the budget in percent of all models' bytes");
    let _ = writeln!(svg, r##"<path d="M60 40V340H520" stroke="#888" fill="none"/>"##);
    for (part, _) in budgets {
        let _ = writeln!(
            svg,
            r#"<text x="{:.1}" y="358" text-anchor="middle">{:.1}</text>"#,
            x(*part, 0.0),
            part * 100.0
        );
    }
    for tick in 0..=4 {
        let seconds = most / 4.0 * f64::from(tick);
        let _ = writeln!(
            svg,
            r#"<text x="54" y="{:.1}" text-anchor="end">{seconds:.0}</text>"#,
            y(seconds, most) + 4.0
        );
    }
    let lines = budgets.first().map_or(0, |(_, rows)| rows.len());
    for line in 0..lines {
        let colour = plot::colour(line, lines);
        let points: Vec<(f64, f64)> =
            budgets.iter().map(|(part, rows)| (x(*part, 0.0), y(rows[line].mean, most))).collect();
        let _ = writeln!(
            svg,
            r#"<path d="{}" stroke="{colour}" fill="none" stroke-width="2"/>"#,
            plot::path(points.iter().copied())
        );
        let name = budgets[0].1[line].choice.name();
        let _ = writeln!(svg, r#"<text x="540" y="{}" fill="{colour}">{name}</text>"#, 70 + 20 * line);
    }
    svg + "</svg>\n"
}
