//! The parts that the plots share, as SVG.

/// The start of a plot of this size: a white ground, and a title.
#[must_use]
pub fn open(width: usize, height: usize, title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"10\" y=\"20\" font-size=\"13\">{title}</text>\n"
    )
}

/// The colour of one of so many lines.
#[must_use]
pub fn colour(line: usize, lines: usize) -> String {
    format!("hsl({} 60% 42%)", line * 360 / lines.max(1))
}

/// The path through these points.
#[must_use]
pub fn path(points: impl IntoIterator<Item = (f64, f64)>) -> String {
    let mut path = String::new();
    for (x, y) in points {
        path += &format!("{}{x:.1} {y:.1}", if path.is_empty() { "M" } else { "L" });
    }
    path
}
