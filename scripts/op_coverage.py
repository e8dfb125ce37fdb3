"""Judges the counts of gcov over the op records: is every line and branch of every reference kernel and sample reached? Called by op_coverage.

    op_coverage.py OBJECTS collect OUT.json                     adds up the counts of src/op since the .gcda files were last removed
    op_coverage.py OBJECTS judge TABLE.json VALUES.json REGIONS.json

Reference kernels and samples are found from the records (.ref, .ref_scratch, .sample and the .view that a view's kernel calls), and whatever they
call or take the address of is found from the object files, so that a new helper is judged without being named here.
"""
import collections, glob, json, os, re, subprocess, sys


def gcov_files(objects):
    for data in sorted(glob.glob(objects + "/*.gcda")):
        command = ["gcov", "--branch-probabilities", "--json-format", "--stdout", os.path.abspath(data)]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for report in text.splitlines():
            for f in json.loads(report)["files"]:
                at = f["file"].find("src/op/")
                if at >= 0:
                    yield os.path.basename(data)[:-5], f["file"][at:], f


def collect(objects, out):
    """file -> function -> line -> [count, branch counts]; the functions of headers are added up over the files that include them."""
    total = {}
    for _, name, f in gcov_files(objects):
        for line in f["lines"]:
            function = total.setdefault(name, {}).setdefault(line.get("function_name", "?"), {})
            old = function.setdefault(line["line_number"], [0, []])
            old[0] += line["count"]
            branches = [b["count"] for b in line["branches"]]
            if len(branches) < len(old[1]):
                branches += [0] * (len(old[1]) - len(branches))
            old[1] = [b + (old[1][i] if i < len(old[1]) else 0) for i, b in enumerate(branches)]
    with open(out, "w") as f:
        json.dump(total, f)


def roots():
    """(names of kernels and samples, those of them that only region ops have)."""
    named, region, sampled = set(), set(), set()
    for path in glob.glob("src/op/*.c"):
        text = open(path).read()
        for record in re.split(r"const adze_op adze_op_", text)[1:]:
            record = record[: record.find("};") if "};" in record else len(record)]
            found = set(re.findall(r"\.(?:ref|ref_scratch|sample|view) = (\w+)", record))
            named |= found
            (region if "ADZE_OP_REGION" in record else sampled).update(found)
    return named, region - sampled


def called(objects):
    """TU -> function -> names that it calls or takes the address of."""
    calls = {}
    for path in glob.glob(objects + "/*.o"):
        edges, current = collections.defaultdict(set), None
        for line in subprocess.run(["objdump", "-dr", "--no-show-raw-insn", path], capture_output=True, text=True, check=True).stdout.splitlines():
            head = re.match(r"[0-9a-f]+ <([\w.]+)>:$", line)
            if head:
                current = head.group(1)
                continue
            use = re.search(r"(?:call|lea|jmp) .*<(\w+)>$", line) or re.search(r"R_X86_64_(?:PLT32|PC32|REX_GOTPCRELX|GOTPCREL\w*)\s+(\w+)-0x", line)
            if use and current and use.group(1) != current:
                edges[current].add(use.group(1))
        calls[os.path.basename(path)[:-2]] = edges
    return calls


def reachable(objects, counts):
    """(file, function) of every kernel and sample and what they call within src/op; and of what only region ops reach."""
    where = collections.defaultdict(dict)  # TU -> function -> file
    for tu, name, f in gcov_files(objects):
        for function in f["functions"]:
            where[tu][function["name"]] = name
    home = {}
    for tu, functions in where.items():
        home.update({function: tu for function, name in functions.items() if name.endswith(".c") or name.endswith(".inc")})
    calls, (named, region) = called(objects), roots()

    def closure(wanted):
        seen = set()
        todo = [(tu, f) for tu, functions in where.items() for f in functions if wanted(f)]
        while todo:
            tu, f = todo.pop()
            if (tu, f) in seen:
                continue
            seen.add((tu, f))
            for g in calls.get(tu, {}).get(f, ()):
                if g in where[tu]:
                    todo.append((tu, g))
                elif g in home:
                    todo.append((home[g], g))
        return {(where[tu][f], f) for tu, f in seen}

    is_root = lambda f: f in named or re.match(r"(ref|run|sample|view)_", f)
    main = closure(lambda f: is_root(f) and f not in region)
    return main, closure(lambda f: f in region) - main, region


def misses(counts, functions):
    """(lines, branches, {(file, line, function, branch or None)} not reached)."""
    lines = branches = 0
    missed = set()
    for file, function in functions:
        for number, (count, taken) in counts.get(file, {}).get(function, {}).items():
            lines += 1
            branches += len(taken)
            if count == 0:
                missed.add((file, int(number), function, None))
            missed |= {(file, int(number), function, i) for i, n in enumerate(taken) if n == 0}
    return lines, branches, missed


def judge(objects, *phases):
    table, values, regions = (json.load(open(p)) for p in phases)
    functions, region_functions, region = reachable(objects, table)
    absent = {f for f in roots()[0] if not f.endswith("_")} - {f for _, f in functions | region_functions}  # "ref_": pasted by a macro
    if absent or not functions:
        print("no counts of", ", ".join(sorted(absent)) or "any function", "- is this a build with --coverage?")
        return 1
    lines, branches, missed = misses(table, functions)
    by_value = missed - misses(values, functions)[2]
    region_lines, region_branches, region_missed = misses(regions, region_functions)
    for what, left in (("by value tests", by_value), ("not reached", (missed - by_value) | region_missed)):
        for file, number, function, branch in sorted(left, key=lambda m: (m[0], m[1], m[2], -1 if m[3] is None else m[3])):
            text = open(file).read().splitlines()[number - 1].strip()
            print(f"{what}: {file}:{number} {function} {'line' if branch is None else f'branch {branch}'}: {text[:90]}")
    left = len(missed - by_value) + len(region_missed)
    print(f"region ops have no samples: their kernels ({', '.join(sorted(region))}: {region_lines} lines, {region_branches} branches) are judged by the "
          f"graph and plan tests, {len(region_missed)} not reached")
    print(f"ref and sample functions: {lines + region_lines} lines, {branches + region_branches} branches, {len(functions | region_functions)} functions, "
          f"{len(by_value)} by value tests only, {left} not reached")
    return 1 if left else 0


if sys.argv[2] == "collect":
    collect(sys.argv[1], sys.argv[3])
else:
    sys.exit(judge(sys.argv[1], *sys.argv[3:6]))
