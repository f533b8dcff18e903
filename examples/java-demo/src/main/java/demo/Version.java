package demo;

/** What this build calls itself. */
public final class Version {
    private Version() {}

    public static String text() {
        return "1.0";
    }
}
