//! Nodes in network namespaces that share a model over links of a known speed.

use crate::process::{built, command, output, run};
use crate::{Result, gate::Outcome};

/// Measures a small swarm: the last node may take 1.6 times as long as the links allow, and the origin gives 1.3 models at most.
pub(crate) fn check() -> Result<Outcome> {
    // A namespace with a link that is shaped takes root, and a kernel that has both.
    let shaped = "ip link add one type veth peer name two && tc qdisc add dev one root tbf rate 1mbit burst 32kb latency 5ms";
    if output(command("unshare", "-n sh -c").arg(shaped)).is_none() {
        return Ok(Outcome::Skipped(
            "no network namespaces with shaped links: that takes root, ip and tc".into(),
        ));
    }
    let mut lab = command("python3", "benches/swarm_lab.py");
    run(lab.arg(built("weighbridge")?).args(["--short", "--ways", "swarm-serve"])).map(|()| Outcome::Passed)
}
