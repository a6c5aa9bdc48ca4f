package gantry.race;

import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;

/** CPU time and peak memory of processes, read from /proc. */
final class Proc {
    /** USER_HZ, which Linux fixes at 100 for everything it shows in /proc. */
    private static final double TICKS_PER_SECOND = 100.0;

    /** CPU seconds (user and system) and peak resident memory in MiB. */
    record Use(double cpuSeconds, double peakMiB) {
        Use since(Use earlier) {
            return new Use(cpuSeconds - earlier.cpuSeconds, peakMiB);
        }
    }

    private Proc() {}

    static Use self() {
        return of(ProcessHandle.current().pid());
    }

    static Use of(long pid) {
        return new Use(cpuSeconds(pid), peakMiB(pid));
    }

    /** Sums a process group: a rival may be a shell with children, if it was started in a group of its own. */
    static Use ofGroup(long pgrp) {
        double cpu = 0;
        double peak = 0;
        try (DirectoryStream<Path> all = Files.newDirectoryStream(Path.of("/proc"), "[0-9]*")) {
            for (Path p : all) {
                long pid = Long.parseLong(p.getFileName().toString());
                String[] stat = stat(pid);
                if (stat != null && Long.parseLong(stat[2]) == pgrp) {
                    cpu += cpuSeconds(pid);
                    peak += peakMiB(pid);
                }
            }
        } catch (IOException e) {
            throw new IllegalStateException("read /proc", e);
        }
        return new Use(cpu, peak);
    }

    private static double cpuSeconds(long pid) {
        String[] stat = stat(pid);
        return stat == null ? 0 : (Long.parseLong(stat[11]) + Long.parseLong(stat[12])) / TICKS_PER_SECOND;
    }

    /** The fields of /proc/PID/stat after the command name (which may hold spaces): index 0 is the state. */
    private static String[] stat(long pid) {
        try {
            String s = Files.readString(Path.of("/proc/" + pid + "/stat"));
            return s.substring(s.lastIndexOf(')') + 2).split(" ");
        } catch (IOException e) {
            return null; // it has ended
        }
    }

    private static double peakMiB(long pid) {
        try {
            for (String line : Files.readAllLines(Path.of("/proc/" + pid + "/status"))) {
                if (line.startsWith("VmHWM:")) {
                    return Long.parseLong(line.replaceAll("\\D", "")) / 1024.0;
                }
            }
        } catch (IOException e) {
            return 0; // it has ended
        }
        return 0;
    }
}
