//! The words that labels are understood by, each list separated by blanks. Which list decides what is
//! in `label`. They are compared in lower case and, but for the lists below [`UNKNOWN`], without
//! `-`, `_`, `.` and blanks.

/// Images without a defect.
pub(super) const NORMAL: &str = "\
    normal good ok okay okey io goed gut bon bueno buono pass passed accept accepted fine
    clean healthy intact perfect flawless faultless undamaged unbroken undefective
    nondefective notdefective defectfree defectless nodefect nodefects withoutdefect
    withoutdefects nonanomalous notanomalous noanomaly noanomalies anomalyfree faultfree
    nofault nofaults errorfree noerror nodamage nocrack noflaw spotless negative neg inlier";

/// Images with a defect of no particular type.
pub(super) const ANOMALOUS: &str = "\
    anomalous anomaly anomalies abnormal notnormal nonnormal bad ng ko nok notok nio notgood
    nogood defect defects defective defected fail failed failure faulty fault reject rejected
    scrap damaged damage flawed flaw error unhealthy positive pos outlier schlecht";

/// Said where somebody does not know; an empty label says the same.
pub(super) const UNKNOWN: &str = "\
    unknown unlabelled unlabeled nolabel na n/a nan null nil none ? ?? ??? tbd todo undefined
    unsure uncertain pending undecided notset unset";

/// Beginnings of words for defects: a label with such a word is a defect type. From the defect
/// types of MVTec AD, AD 2, LOCO and 3D, VisA, BTAD, MPDD, Real-IAD, NEU, Severstal and magnetic
/// tiles.
pub(super) const DEFECT_WORDS: &str = "\
    abras anomal bend bent bleed blister blob blotch blowhole break brittle broke bruis bubble
    buckl bulge bump burn burr burst cavit chip chipped clog collaps contamin corrod corros
    crack craz crease crimp crush cut damag debris defect deform degrad delamin dent deposit
    dirt discolo dislo distort drip dust eroded erosion excess fail fault fissur flak flash
    flaw fold foreign fractur fray freckle fuzz glue gouge graystroke greystroke groove hole
    impurit inclusion insufficient irregular jagged leak lessglue lump melt metalcontamin
    misalign mismatch misplac misprint missing mold mould nick notch oil overflow oxid patch
    peel perforat pinhole pit pitted pitting poke pore poro protru punctur residue ripple
    rough rupture rust scab scar scorch scratch scuff shatter shrink skew slag smear smudge
    snag spall spatter splatter splinter spot squeez stain stripe swirl tear thread tilt torn
    twist undercut uneven void warp wear worn wrink wrong";

/// Words that turn a defect into its opposite: with one of these a label is no defect type.
pub(super) const NEGATIONS: &str = "\
    no not non without free less never ohne sans zero n nil";

/// Words that leave a defect open, or say that it is gone.
pub(super) const DOUBTS: &str = "\
    maybe possible possibly potential suspect suspected pseudo alarm repaired removed fixed reworked
    rework healed cleaned resolved closed check recheck review doubtful";
